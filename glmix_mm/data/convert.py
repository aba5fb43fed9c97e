"""Turns Pascal VOC, YOLO or labelme into COCO's json: what ``glmix convert`` calls."""

import json
import os
import random
import re
import shlex
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml

from ..errors import UserError
from ..utils.atomic_files import write_atomically
from ..utils.commands import spelled
from ..utils.messages import one_line, printable
from ..utils.parsers import convert_parser
from ..utils.pictures import ENDINGS
from .annotation_readers import Object, Tell, read_labelme, read_voc, read_yolo
from .formats import describe_contents, find_format
from .paths import read_lines
from .statistics import read_size

SPLITS = ('train', 'val', 'test')
SPLIT = re.compile(r'(train|val|test)(ing|id|idation)?\d*', re.IGNORECASE)  # the name of a folder
NO_IMAGES = ('SegmentationClass', 'SegmentationObject', 'masks')  # folders of label maps
SHARE = 5  # every fifth image is one of val where a set is not split
SMALLEST = 1.0  # px; a side that is no longer holds nothing
SHOWN = 20  # problems that are printed
PROBLEMS = 'problems.txt'

Read = Callable[[Path, tuple[int, int], Tell], list[Object]]


def main(argv: Sequence[str]) -> None:
    """Convert the folder that the command line names, and print what was found.

    Raises:
        UserError: see :func:`convert`.
    """
    args = convert_parser().parse_args(argv)
    out = Path(args.out).expanduser()
    for line in convert(Path(args.folder).expanduser(), out):
        print(line, flush=True)
    print(f'Check it: {spelled("check-data")} {shlex.quote(str(out))}')


def convert(folder: Path, out: Path) -> list[str]:
    """Write OUT/annotations/SPLIT.json, and links to the images in OUT/images/SPLIT.

    Splits are taken from VOC's ImageSets/Main, YOLO's data.yaml or the names of folders. Without
    any, every fifth image, in a fixed random order, is one of val.

    Returns:
        What there is to say; all problems are in OUT/problems.txt as well.

    Raises:
        UserError: supervision is missing, ``folder`` holds none of the formats or no images, or
            ``out`` is not empty.
    """
    if not folder.is_dir():
        raise UserError(f'{folder.absolute()}: no such folder')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'{out.absolute()}: exists already; give a new folder')
    try:
        import supervision  # noqa: F401
    except ImportError as error:
        raise UserError(
            "glmix convert needs the package supervision: pip install 'glmix_mm[convert]' "
            f'({error})'
        ) from error
    found = find_format(folder)
    kind = found[0] if found else None
    if not kind or not kind.labels:
        what = (
            f'{found[1].relative_to(folder)} is {kind.name}' if kind else describe_contents(folder)
        )
        raise UserError(f'{folder.absolute()}: {what}; expected Pascal VOC, YOLO or labelme')
    problems: list[str] = []
    paths = _find(folder, ENDINGS)
    images = [path for path in paths if not {*path.relative_to(folder).parts} & {*NO_IMAGES}]
    if not images:
        raise UserError(f'{folder.absolute()}: {describe_contents(folder)}, but no images')
    read, settings = _reader(folder, kind.labels)
    labels = _match(images, _find(folder, [kind.labels]))
    splits = _split(folder, images, settings, problems.append)
    contents = {split: _read_all(splits[split], labels, read, problems) for split in splits}
    names = list(settings.get('names', {}).values()) or sorted(
        {
            thing.name
            for content in contents.values()
            for _, _, things in content
            for thing in things
        }
    )
    lines = [f'{kind.name} in {folder.absolute()}; {len(names)} classes: {", ".join(names)}']
    lines += _write(out, contents, names)
    if problems:
        write_atomically(out / PROBLEMS, '\n'.join([*problems, '']).encode())
        rest = f', the first {SHOWN}:' if len(problems) > SHOWN else ':'
        lines += [f'problems: {len(problems)}, written to {out / PROBLEMS}{rest}']
        lines += [f'  {problem}' for problem in problems[:SHOWN]]
    return lines


def _find(folder: Path, endings: Sequence[str]) -> list[Path]:
    """Return the files below a folder with some endings, in order."""
    return sorted(path for path in folder.rglob('*') if path.suffix.lower() in endings)


def _reader(folder: Path, labels: str) -> tuple[Read, dict]:
    """Return what reads a file of labels, and what YOLO's data.yaml says.

    Raises:
        UserError: YOLO's classes have no names, or it is a set of key points.
    """
    if labels != '.txt':
        return (read_voc if labels == '.xml' else read_labelme), {}
    for path in sorted(folder.rglob('*.y*ml')):
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f'{path}: cannot be read as YAML ({one_line(error)})') from error
        if not isinstance(content, dict) or 'names' not in content:
            continue
        if 'kpt_shape' in content:
            raise UserError(f'{path}: kpt_shape means key points, which are not converted')
        names = content['names']
        names = dict(enumerate(names)) if isinstance(names, list) else names
        names = {int(label): str(name) for label, name in sorted(names.items())}
        return partial(read_yolo, names=names), {**content, 'names': names, 'file': path}
    listed = next(folder.rglob('classes.txt'), None)
    if listed is None:
        raise UserError(
            f'{folder.absolute()}: nothing names the classes of these labels; write data.yaml with '
            'names: [...], or classes.txt with one name per line'
        )
    names = dict(enumerate(read_lines(str(listed))))
    return partial(read_yolo, names=names), {'names': names}


def _match(images: list[Path], labels: list[Path]) -> dict[Path, Path]:
    """Return the file of labels of each image: of the same name, in the most similar folder."""
    named = defaultdict(list)
    for path in labels:
        named[path.stem].append(path)
    return {
        image: max(
            named[image.stem],
            key=lambda path: len({*path.parent.parts} & {*image.parent.parts}),
        )
        for image in images
        if image.stem in named
    }


def _split(folder: Path, images: list[Path], settings: dict, tell: Tell) -> dict[str, list[Path]]:
    """Return the images of each split."""
    listed = {
        name: split
        for split in SPLITS
        for path in sorted(folder.rglob(f'ImageSets/Main/{split}.txt'))
        for name in read_lines(str(path))
    }
    folders = {
        path.resolve(): split for split in SPLITS for path in _named(folder, settings, split)
    }
    splits: dict[str, list[Path]] = {}
    for image in images:
        above = [split for path, split in folders.items() if path in image.resolve().parents]
        parts = reversed(image.relative_to(folder).parts[:-1])
        ends = [match[1].lower() for match in map(SPLIT.fullmatch, parts) if match]
        split = listed.get(image.stem, '') if listed else next(iter([*above, *ends]), '')
        splits.setdefault(split, []).append(image)
    rest = splits.pop('', [])
    if splits:
        for image in rest:
            tell(f'{image}: belongs to no split; left out')
    else:
        splits['train'] = rest
    if not {'val', 'test'} & {*splits}:
        shuffled = random.Random(0).sample(splits['train'], len(splits['train']))
        splits = {'train': sorted(shuffled[len(shuffled) // SHARE :])}
        splits['val'] = sorted(shuffled[: len(shuffled) // SHARE])
    return {split: splits[split] for split in SPLITS if split in splits}


def _named(folder: Path, settings: dict, split: str) -> list[Path]:
    """Return the folders that YOLO's data.yaml names for a split."""
    entries = settings.get(split) or []
    entries = [entries] if isinstance(entries, str) else entries
    roots = [folder, settings['file'].parent] if 'file' in settings else [folder]
    roots += [root / str(settings['path']) for root in roots if settings.get('path')]
    # Roboflow's begin with ../, which leads out of the folder.
    paths = [root / each.removeprefix('../') for each in map(str, entries) for root in roots]
    return [path for path in paths if path.is_dir()]


def _read_all(
    images: list[Path], labels: dict[Path, Path], read: Read, problems: list[str]
) -> list[tuple[Path, tuple[int, int], list[Object]]]:
    """Return each image with its size and its objects; add to the problems what is left out."""
    content = []
    for image in images:
        label = labels.get(image)
        if label is None:
            problems.append(f'{image}: has no file of labels; left out')
            continue

        def tell(what: str, label: Path = label) -> None:
            problems.append(printable(f'{label}: {what}'))

        try:
            size = read_size(str(image))
        except UserError as error:
            problems.append(printable(str(error)))
            continue
        things = [_within(thing, size, tell) for thing in read(label, size, tell)]
        content.append((image, size, [thing for thing in things if thing]))
    return content


def _within(thing: Object, size: tuple[int, int], tell: Tell) -> Object | None:
    """Return an object with its box cut at the edges of its image; None if nothing is left."""
    left, top, right, bottom = thing.corners
    corners = max(left, 0.0), max(top, 0.0), min(right, size[0]), min(bottom, size[1])
    if corners[2] - corners[0] <= SMALLEST or corners[3] - corners[1] <= SMALLEST:
        box = ', '.join(f'{number:g}' for number in thing.corners)
        tell(f'the box {box} of {thing.name!r} is empty or outside its image; left out')
        return None
    return thing._replace(corners=corners)


def _write(out: Path, contents: dict, names: list[str]) -> list[str]:
    """Write each split's json and links; return what there is to say about them."""
    numbers = {name: number for number, name in enumerate(names, 1)}
    everything = [t for content in contents.values() for _, _, things in content for t in things]
    masks = any(thing.polygons for thing in everything)
    lines = []
    for split, content in contents.items():
        images: list[dict] = []
        annotations: list[dict] = []
        taken: set[str] = set()
        (out / 'images' / split).mkdir(parents=True)
        for image, size, things in content:
            name = _free_name(image, taken)
            _link(image, out / 'images' / split / name)
            entry = dict(id=len(images) + 1, file_name=name, width=size[0], height=size[1])
            images.append(entry)
            for thing in things:
                left, top, right, bottom = thing.corners
                width, height = right - left, bottom - top
                corners = [left, top, right, top, right, bottom, left, bottom]
                annotation = dict(
                    id=len(annotations) + 1,
                    image_id=entry['id'],
                    category_id=numbers[thing.name],
                    bbox=[left, top, width, height],
                    area=width * height,
                    iscrowd=int(thing.ignored),
                )
                if masks:
                    annotation['segmentation'] = list(thing.polygons) or [corners]
                annotations.append(annotation)
        categories = [dict(id=number, name=name) for name, number in numbers.items()]
        document = dict(images=images, annotations=annotations, categories=categories)
        path = out / 'annotations' / f'{split}.json'
        write_atomically(path, json.dumps(document).encode())
        counts = Counter(thing.name for _, _, things in content for thing in things)
        listed = ', '.join(f'{name} {counts[name]}' for name in names)
        lines.append(f'{path}: {len(images)} images, {len(annotations)} objects ({listed})')
    boxes = sum(not thing.polygons for thing in everything)
    if masks and boxes:
        lines.append(f'{boxes} objects have a box but no polygon; the whole box is their mask')
    return lines


def _free_name(image: Path, taken: set[str]) -> str:
    """Return the image's name, numbered if another image of the split has it."""
    name, number = image.name, 2
    while name in taken:
        name, number = f'{image.stem}_{number}{image.suffix}', number + 1
    taken.add(name)
    return name


def _link(image: Path, target: Path) -> None:
    try:
        os.symlink(image.resolve(), target)
    except OSError:  # Windows permits links only to some users
        shutil.copyfile(image, target)
