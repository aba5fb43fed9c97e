"""Names what a folder holds where it is none of the layouts that are read here."""

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..utils.commands import spelled

FILES = 2000  # that are looked into
NAMES = 50_000  # of files, images included, after which no folder is looked into
LARGE = 2**20  # bytes of a json beyond which only its start and end are read
CONVERT = "detectors read COCO's json, which this writes: {convert}"  # what to do next


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        name: of the format.
        next_step: what to do with it.
        fits: tells whether a file is one of it.
        labels: how its files end, where ``glmix convert`` reads it.
    """

    name: str
    next_step: str
    fits: Callable[[Path], bool]
    labels: str = ''


def describe_format(folder: Path) -> str:
    """Return what a folder's annotations are and what to do next, or '' if they are not known."""
    found = find_format(folder)
    if not found:
        return ''
    kind, path = found
    below = path.relative_to(folder)
    names = [shlex.quote(str(name)) for name in (folder, f'{folder.absolute().name}_coco')]
    convert = f'{spelled("convert")} {names[0]} {names[1]}'
    next_step = kind.next_step.format(file=shlex.quote(str(below)), convert=convert)
    return f'{below} is {kind.name}; {next_step}'


def find_format(folder: Path) -> tuple[Format, Path] | None:
    """Return the format of a folder's annotations and a file of it; None if it is not known."""
    files = list(islice(_walk(folder), FILES))
    for kind in FORMATS:
        found = next((path for path in files if kind.fits(path)), None)
        if found:
            return kind, found
    return None


def describe_contents(folder: Path) -> str:
    """Return how many files of which ending are below a folder, for a message."""
    names = (path for path in islice(folder.rglob('*'), NAMES) if path.is_file())
    counts = Counter(path.suffix or path.name for path in names)
    listed = ', '.join(f'{count} *{ending}' for ending, count in counts.most_common(5))
    return f'holds {listed}' if listed else 'is empty'


def _walk(folder: Path) -> Iterator[Path]:
    seen = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        seen += len(names)
        if seen > NAMES:
            folders.clear()
        # Images are many and tell nothing, so that only annotations count.
        kept = [name for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES]
        yield from (Path(parent, name) for name in kept)


def _start(path: Path) -> str:
    try:
        with open(path, encoding='utf-8-sig', errors='replace') as file:
            return file.read(LARGE)
    except OSError:
        return ''


def _is_yolo(path: Path) -> bool:
    """Tell whether each line is a class and four or more fractions of the image."""
    if path.suffix == '.yaml':
        lines = _start(path).splitlines()
        return all(any(line.startswith(key) for line in lines) for key in ('names:', 'train:'))
    if path.suffix != '.txt':
        return False
    try:
        rows = [[float(word) for word in line.split()] for line in _start(path).splitlines()]
    except ValueError:
        return False
    rows = [row for row in rows if row]
    return bool(rows) and all(
        len(row) >= 5 and row[0] == int(row[0]) and all(-0.5 <= x <= 1.5 for x in row[1:])
        for row in rows
    )


def _has_root(name: str) -> Callable[[Path], bool]:
    start = re.compile(rf'<{name}[\s/>]')
    return lambda path: path.suffix == '.xml' and bool(start.search(_start(path)))


def _has_keys(*keys: str) -> Callable[[Path], bool]:
    """Return what tells whether a json is an object with these keys."""

    def fits(path: Path) -> bool:
        if path.suffix != '.json':
            return False
        text = _start(path)
        if len(text) == LARGE:
            with open(path, 'rb') as file:
                file.seek(-LARGE, os.SEEK_END)
                text += file.read().decode(errors='replace')
            return any(f'"{key}":' in text.replace('" :', '":') for key in keys)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(content, dict) and set(keys) <= set(content)

    return fits


def _is_voc_list(path: Path) -> bool:
    return path.suffix == '.txt' and path.parts[-3:-1] == ('ImageSets', 'Segmentation')


SUFFIXES = ('.txt', '.yaml', '.xml', '.json', '.csv')
FORMATS = (
    Format(
        'a list of Pascal VOC with label maps (SegmentationClass)',
        'move images and label maps of each list to images/train, masks/train, images/val and '
        'masks/val, with the names of the classes in classes.txt',
        _is_voc_list,
    ),
    Format(
        "a list of Roboflow's label maps",
        'move images to images/train and images/val, the *_mask.png to masks/train and masks/val, '
        'and write the names of the classes to classes.txt',
        lambda path: path.name == '_classes.csv',
    ),
    Format("Pascal VOC's XML", CONVERT, _has_root('annotation'), '.xml'),
    Format(
        "CVAT's own XML", 'export the task again as COCO 1.0 from CVAT', _has_root('annotations')
    ),
    Format("labelme's json", CONVERT, _has_keys('shapes', 'imagePath'), '.json'),
    Format(
        "COCO's json, but not where it is looked for (train.json and val.json, for example)",
        'rename it, or give the folder that holds it; if it is not split, divide it '
        'into train.json and val.json, for example with the package supervision '
        '(DetectionDataset.from_coco, then split), or name it in the config: --cfg-options '
        'train_dataloader.dataset.ann_file={file} train_dataloader.dataset.data_prefix.img=FOLDER, '
        'and val_dataloader and test_dataloader likewise',
        _has_keys('images', 'categories'),
    ),
    Format("YOLO's text", CONVERT, _is_yolo, '.txt'),
)
