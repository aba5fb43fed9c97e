"""Images that are in a data set more than once, whatever their names."""

import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..utils.messages import some
from .statistics import HEADERS, evenly, of_all

MANY = 200_000  # training images; to look at the size of each takes long on a distant disk
END = 4096  # bytes at a file's start and end that are compared before all of it is


def copies_note(paths: Sequence[str], trained: Sequence[str]) -> list[str]:
    """Say which images of a split training sees as well.

    Args:
        paths: of the split's images, of which a few thousand are looked at.
        trained: of the training images.
    """
    if len(trained) > MANY:
        return [f'copies of the {len(trained)} training images were not looked for']
    chosen = evenly(paths, HEADERS)
    same = find_copies(chosen, trained)
    if not same:
        return []
    first, other = next(iter(same.items()))
    return [
        f'warning: {len(same)} of {of_all(len(chosen), len(paths))} images looked at are training '
        f'images as well, the first: {first} is {other}; the scores say less of new images'
    ]


def twins_note(paths: Sequence[str]) -> list[str]:
    """Say which images of a split are in it under another name as well."""
    chosen = evenly(list(dict.fromkeys(paths)), HEADERS)
    same = find_copies(chosen, chosen)
    if not same:
        return []
    first, other = next(iter(same.items()))
    return [
        f'{len(same)} of {of_all(len(chosen), len(paths))} images looked at are there under '
        f'another name as well, the first: {first} is {other}; give both the same labels'
    ]


def find_copies(paths: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return the files that have the same content as one of the others, and which one.

    Where both are the same files, that is another of them.
    """
    within = paths is others
    sizes = defaultdict(list)
    for path in paths:
        if os.path.isfile(path):
            sizes[os.path.getsize(path)].append(path)
    likely = defaultdict(list)
    for path in others:
        if os.path.isfile(path) and os.path.getsize(path) in sizes:
            likely[_ends(path)].append(path)
    pairs = ((path, likely.get(_ends(path), ())) for group in sizes.values() for path in group)
    found = {}
    for path, group in pairs:
        others = (o for o in group if not (within and o == path))
        found[path] = next((o for o in others if _equal(path, o)), None)
    return {path: other for path, other in found.items() if other}


def _ends(path: str) -> int:
    """Return a hash of a file's size, start and end, which differ for most images."""
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        start = file.read(END)
        file.seek(max(size - END, 0))
        return hash((size, start, file.read(END)))


def _equal(path: str, other: str) -> bool:
    return filecmp.cmp(path, other, shallow=False)


def repeated_note(names: Mapping) -> list[str]:
    """Say which images an annotation file lists more than once.

    Args:
        names: ``file_name`` by image id.
    """
    counts = Counter(os.path.normpath(name) for name in names.values())
    twice = [name for name, count in counts.items() if count > 1]
    if not twice:
        return []
    ids = [number for number, name in names.items() if os.path.normpath(name) == twice[0]]
    return [
        f'warning: {len(twice)} images are listed more than once, the first: {twice[0]} with the '
        f'ids {some(ids)}; the objects that only one entry has are background in the other, so '
        'give all annotations of an image one image_id'
    ]
