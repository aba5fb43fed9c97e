"""Completes annotations that are sound, but not as pycocotools expects them.

pycocotools notes which annotation a detection matches by the annotation's id, in an array of floats
whose zeros mean no match. So a match of id 0, where Roboflow and others start to count, is a miss.
An id that is a string is an error, and so is a missing 'iscrowd', which mmdet takes for 0.
"""

from collections.abc import Mapping, Sequence

LARGEST = 2**63 - 1
SHOWN = 40  # characters of an id


def suits(number: object) -> bool:
    """Tell whether pycocotools can take an annotation's id."""
    return isinstance(number, int) and 0 < number <= LARGEST


def complete(annotations: Sequence[dict]) -> None:
    """Number annotations from 1, in their order, if the id of any does not suit; add 'iscrowd'."""
    if not all(suits(annotation['id']) for annotation in annotations):
        for number, annotation in enumerate(annotations, 1):
            annotation['id'] = number
    for annotation in annotations:
        annotation.setdefault('iscrowd', 0)


def describe(annotations: Sequence[Mapping], path: str) -> list[str]:
    """Return what to report of what is completed.

    Args:
        annotations: of a file.
        path: the file.
    """
    notes = []
    odd = next((entry['id'] for entry in annotations if not suits(entry['id'])), None)
    if odd is not None:
        text = repr(odd)
        shown = text if len(text) <= SHOWN else f'{text[:SHOWN]}...'
        notes.append(
            f'{path}: pycocotools cannot score with annotation ids such as {shown}; they are read '
            'as 1, 2, 3, ... instead'
        )
    without = sum('iscrowd' not in entry for entry in annotations)
    if without:
        notes.append(f"{path}: {without} annotations have no 'iscrowd'; it is read as 0")
    return notes
