"""Checks of a COCO-style data set: the json file, its images, its categories."""

import codecs
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.dataset import BaseDataset

from ..errors import UserError
from ..utils.messages import some
from . import coco_ids
from .coco_entries import box_mistake, id_mistake, image_mistake, mask_mistake, mask_scoring_mistake
from .coco_statistics import Annotations, read_annotations, survey_annotations
from .copies import repeated_note
from .formats import describe_format, find_format
from .kept_annotations import parsed
from .paths import COCO_LAYOUT, Place, require_images
from .statistics import Survey, survey_images

IMAGE_KEYS = ('id', 'file_name', 'height', 'width')
BOX_KEYS = ('id', 'image_id', 'category_id', 'bbox', 'area')
CATEGORY_KEYS = ('id', 'name')
BYTE_ORDER_MARK = '\ufeff'
WRITTEN = 20  # classes that a message lists for copying


@dataclass(frozen=True)
class CocoFile:
    """What the checks need of one annotation file.

    Attributes:
        image_names: ``file_name`` of each image id.
        categories: names, in the file's order.
        used: names of the categories that have annotations.
        without_mask: number of annotations that have no ``segmentation``.
        annotated: whether the file has annotations at all (test-dev's has none).
        annotations: what its annotations hold.
        bad_mask: what is wrong with the first annotation whose mask can't be read, or ''.
        completed: what to report of what mmdet's reading is made to complete.
        unscorable_mask: why pycocotools could not score against an annotation's mask, or ''.
    """

    image_names: dict
    categories: tuple[str, ...]
    used: frozenset[str]
    without_mask: int
    annotated: bool
    annotations: Annotations
    bad_mask: str
    completed: tuple[str, ...]
    unscorable_mask: str


class CocoFiles:
    """Reads annotation files, each once (COCO's largest takes 20 s)."""

    def __init__(self):
        self._read: dict[str, CocoFile] = {}

    def read(self, path: str, place: Place) -> CocoFile:
        """Return the summary of an annotation file.

        Raises:
            UserError: it is missing, not json, or not in COCO's format.
        """
        key = os.path.realpath(path)
        if key not in self._read:
            self._read[key] = _summarise(path, read_coco(path, place))
        return self._read[key]


def check_coco(
    dataset: BaseDataset,
    place: Place,
    evaluators: Sequence[Mapping],
    files: CocoFiles,
    with_masks: bool,
    key: str = 'dataset',
) -> Survey:
    """Check a data set that mmdet's ``CocoDataset`` reads.

    Args:
        dataset: built without being read; its paths and classes are resolved.
        place: its folder.
        evaluators: settings of the split's metrics.
        files: reads the annotation files.
        with_masks: whether the data set's pipeline loads masks.
        key: full key of the data set in the config, for the notes.

    Returns:
        What else is to be said of its images and annotations.

    Raises:
        UserError: what is missing or doesn't fit.
    """
    path = dataset.ann_file
    found = files.read(path, place)
    folder = dataset.data_prefix.get('img') or dataset.data_root or '.'
    place.require_folder(folder, COCO_LAYOUT)
    if not found.image_names:
        raise UserError(f'{path}: lists no images; expected the images of {folder}')
    require_images(path, folder, found.image_names.values(), 'correct data_prefix or file_name')
    if not found.annotated:
        if any(not evaluator.get('format_only') for evaluator in evaluators) or not evaluators:
            raise UserError(
                f"{path}: has no 'annotations', which {place.split} needs; a test set without them "
                'can only be formatted (format_only=True)'
            )
    elif with_masks and found.without_mask:
        raise UserError(
            f"{path}: {found.without_mask} annotations have no 'segmentation', which the config's "
            "pipeline loads (with_mask=True); add masks, or use a config without them (RetinaNet's)"
        )
    if with_masks and found.bad_mask:
        raise UserError(f'{path}: {found.bad_mask}')
    by_name = getattr(dataset.COCOAPI, 'by_name', False)
    notes = _check_categories(path, found, dataset.metainfo['classes'], place, key, by_name)
    scored = [_check_evaluator(evaluator, path, found, place, files) for evaluator in evaluators]
    survey = _survey(dataset, folder, found, key, with_masks)
    survey.notes = notes + survey.notes
    survey.notes += dict.fromkeys(note for file in scored for note in file.completed)
    return survey


def _survey(
    dataset: BaseDataset, folder: str, found: CocoFile, key: str, with_masks: bool
) -> Survey:
    """Look at the images, and at what mmdet uses of the annotations."""
    boxes, names = found.annotations, found.image_names
    sizes = {name: boxes.sizes[image] for image, name in names.items()}
    survey = survey_images(folder, list(sizes), sizes)
    survey.paths = [os.path.join(folder, name) for name in sizes]
    survey.notes += repeated_note(names)
    filters = None if dataset.test_mode else dataset.filter_cfg
    classes = dataset.metainfo['classes']
    if found.annotated:
        more = survey_annotations(
            dataset.ann_file, boxes, classes, filters, key, with_masks, not dataset.test_mode
        )
        survey.notes, survey.images = more.notes + survey.notes, more.images
        survey.most, survey.of_one = more.most, more.of_one
        survey.problems += more.problems
    return survey


def read_coco(path: str, place: Place) -> Mapping:
    """Load a json file that should hold one object with images and categories.

    The content may be kept for other readers, so it may not be changed.

    Raises:
        UserError: it is missing, not json, or not in COCO's format.
    """
    return parsed(path, lambda: _parse(path, place))


def _parse(path: str, place: Place) -> Mapping:
    if not os.path.isfile(path):
        root = Path(place.root or '.')
        other = find_format(root) if root.is_dir() else None
        if other and other[0].labels:
            raise UserError(
                f'{place.split} data: {os.path.abspath(path)} is missing; {describe_format(root)}'
            )
        raise place.missing(path, 'is missing', COCO_LAYOUT)
    try:
        with open(path, encoding='utf-8') as file:
            if file.read(1) == BYTE_ORDER_MARK:
                raise UserError(
                    f'{path}: begins with a byte order mark, which pycocotools cannot read; save '
                    'it as UTF-8 without one'
                )
            file.seek(0)
            content = json.load(file, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise UserError(
            f'{path}: is not json: {error.msg} at line {error.lineno}, column {error.colno} '
            f'(character {error.pos} of {os.path.getsize(path)} bytes); copy or download it again'
        ) from error
    except UnicodeDecodeError as error:
        if _is_wide_text(path):
            raise UserError(f'{path}: is text in UTF-16 or UTF-32; save it as UTF-8') from error
        raise UserError(
            f'{path}: is not json but binary (byte {error.start} is not UTF-8); expected '
            "COCO's annotations, unpacked"
        ) from error
    except (RecursionError, ValueError, MemoryError) as error:  # nested, or numbers, without end
        raise UserError(f'{path}: cannot be read as json: {error}') from error
    if not isinstance(content, dict) or not {'images', 'categories'} <= set(content):
        found = some(content) if isinstance(content, dict) else f'a {type(content).__name__}'
        raise UserError(
            f"{path}: is json, but not COCO's: expected an object with 'images', 'annotations' and "
            f"'categories', found {found or 'nothing'}"
        )
    return content


def _object(pairs: list[tuple[str, object]]) -> dict:
    """Return the dict of a json object, unless it says two things of the same.

    Raises:
        ValueError: a key is there twice. Python's json would take the last without a word.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f'an object in it has {twice!r} twice')
    return found


def _is_wide_text(path: str) -> bool:
    with open(path, 'rb') as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _summarise(path: str, content: Mapping) -> CocoFile:
    boxes = content.get('annotations') or []
    _require_entries(path, 'images', content['images'], IMAGE_KEYS, image_mistake)
    _require_entries(path, 'annotations', boxes, BOX_KEYS, box_mistake)
    _require_entries(path, 'categories', content['categories'], CATEGORY_KEYS, _category_mistake)
    used = {str(box['category_id']) for box in boxes}
    unused = [entry['id'] for entry in content['categories'] if str(entry['id']) not in used]
    fix = f'; no annotation has the category ids {some(unused)}: take out what is not needed'
    _require_unique(path, 'categories', content['categories'], 'name', fix if unused else '')
    for entry in ('images', 'categories'):
        _require_one_kind(path, entry, content[entry])
    names = {category['id']: category['name'] for category in content['categories']}
    images = {image['id']: image for image in content['images']}
    _require_references(path, boxes, 'category_id', names, 'categories')
    _require_references(path, boxes, 'image_id', images, 'images')
    masks = [box for box in boxes if box.get('segmentation')]
    bad_mask = _first(masks, lambda box: mask_mistake(box['segmentation'], images[box['image_id']]))
    sound = [] if bad_mask else masks
    return CocoFile(
        image_names={number: image['file_name'] for number, image in images.items()},
        categories=tuple(names.values()),
        used=frozenset(names[box['category_id']] for box in boxes),
        without_mask=len(boxes) - len(masks),
        annotated='annotations' in content,
        annotations=read_annotations(content, names, sound_masks=not bad_mask),
        bad_mask=bad_mask,
        completed=tuple(coco_ids.describe(boxes, path)),
        unscorable_mask=_first(sound, mask_scoring_mistake),
    )


def _first(boxes: Sequence[Mapping], mistake: Callable[[Mapping], str]) -> str:
    """Return the first mistake of an annotation, with its id, or ''."""
    found = ((box['id'], mistake(box)) for box in boxes)
    return next((f'annotation {number!r}: {text}' for number, text in found if text), '')


def _require_references(
    path: str, boxes: Sequence[Mapping], key: str, known: Mapping, entry: str
) -> None:
    """Check that what the annotations refer to is listed."""
    try:
        strangers = {box[key] for box in boxes} - set(known)
    except TypeError:  # a list or an object
        strangers = [box[key] for box in boxes if isinstance(box[key], (list, dict))]
    if strangers:
        names = sorted(strangers, key=str)
        raise UserError(
            f"{path}: annotations have {key} {some(names)}, which '{entry}' does not list"
        )


def _category_mistake(category: Mapping) -> str:
    if not isinstance(category['name'], str):
        return f'name {category["name"]!r} is not a string'
    return id_mistake(category)


def _require_entries(
    path: str,
    entry: str,
    items: Sequence[Mapping],
    keys: Sequence[str],
    mistake: Callable[[Mapping], str],
) -> None:
    """Check that a list has objects with these keys and sound values, and no id twice."""
    if not isinstance(items, list):
        raise UserError(
            f"{path}: '{entry}' is a {type(items).__name__}; COCO has a list of objects"
        )
    needed = set(keys)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            kind = type(item).__name__
            raise UserError(
                f'{path}: {entry}[{index}] is a {kind}; COCO has objects with {some(keys)}'
            )
        if not needed <= item.keys():
            lacking = some(key for key in keys if key not in item)
            raise UserError(f'{path}: {entry}[{index}] has no {lacking}; COCO needs {some(keys)}')
        wrong = mistake(item)
        if wrong:
            raise UserError(f'{path}: {entry}[{index}]: {wrong}')
    _require_unique(path, entry, items, 'id')


def _require_unique(
    path: str, entry: str, items: Sequence[Mapping], key: str, fix: str = ''
) -> None:
    counts = Counter(item[key] for item in items)
    if len(counts) < len(items):
        twice = [value for value, count in counts.items() if count > 1]
        raise UserError(
            f'{path}: {entry} have the {key} {some(twice)} more than once; each needs its own{fix}'
        )


def _require_one_kind(path: str, entry: str, items: Sequence[Mapping]) -> None:
    """Check that ids can be sorted, as pycocotools does: all numbers, or all strings."""
    texts = [item['id'] for item in items if isinstance(item['id'], str)]
    if 0 < len(texts) < len(items):
        raise UserError(
            f'{path}: {entry} have ids of two kinds, strings such as {texts[0]!r} and numbers; '
            'pycocotools needs one kind'
        )


def _check_categories(
    path: str, found: CocoFile, classes: Sequence[str], place: Place, key: str, by_name: bool
) -> list[str]:
    """Compare a file's category names with the data set's classes; return what is to be told.

    mmdet finds its classes by name and numbers them in the order of the file. So a missing class
    shifts the numbers of those after it, and another order is another numbering.
    """
    notes = []
    known = [name for name in found.categories if name in classes]
    absent = [name for name in classes if name not in found.categories]
    if absent:
        share = f'only {len(known)} of the' if known else 'none of the'
        fix = _class_line(found.categories)
        if place.split != 'train':  # which has been found good, or another file was trained on
            fix = (
                "add or rename them in this file's 'categories', so that it has every class that "
                'is trained; their order does not matter'
            )
        raise UserError(
            f"{path}: has {share} data set's {len(classes)} classes; absent are {some(absent)}, "
            f'the file has {some(found.categories)}; {fix}'
        )
    if known != list(classes):
        order = f'categories in another order ({some(known)}) than the classes ({some(classes)})'
        if not by_name:
            raise UserError(
                f"{path}: has its {order}, and mmdet numbers them in the file's order; leave "
                "the classes as they are, and set type='CocoDatasetByName' of "
                f"{key} and type='CheckedCocoMetric' of its metric, which go by name "
                "(custom_imports: 'glmix_mm.data.coco_by_name', 'glmix_mm.inference.metrics')"
            )
        notes.append(f'{path}: has its {order}; they are matched by name')
    if found.annotated and not found.used & set(classes):
        raise UserError(f"{path}: has no annotation of the data set's classes ({some(classes)})")
    ignored = sorted(found.used - set(classes))
    if not ignored:
        return notes
    count = sum(found.annotations.usable[name].total() for name in ignored)
    whole = sum(boxes.total() for boxes in found.annotations.usable.values())
    start = f'warning: {count} of {whole}' if 2 * count > whole else f'{count}'
    return [
        *notes,
        f'{start} boxes of categories that are none of the classes are left out: {some(ignored)}',
    ]


def _class_line(names: Sequence[str]) -> str:
    """Return what to write, or to call, for a file's own classes."""
    line = f"metainfo=dict(classes={names!r}) and the heads' num_classes={len(names)}"
    if len(names) > WRITTEN:
        line = "the file's names as metainfo=dict(classes=...), and the heads' num_classes"
    return f'set {line} in the config, or train with --classes-from-data, which does both'


def _check_evaluator(
    evaluator: Mapping, path: str, found: CocoFile, place: Place, files: CocoFiles
) -> CocoFile:
    """Check that a metric's annotation file is there and knows the data set's images; return it."""
    other = evaluator.get('ann_file')
    scored = files.read(other, place) if other else found
    _check_scorable(other or path, scored, evaluator)
    if scored is found:
        return scored
    unknown = set(found.image_names) - set(scored.image_names)
    if unknown:
        raise UserError(
            f'{place.split}_evaluator.ann_file={other}: lacks {len(unknown)} of the '
            f"{len(found.image_names)} images of the data set's {path}; give both the same file"
        )
    return scored


def _check_scorable(path: str, scored: CocoFile, evaluator: Mapping) -> None:
    """Check that pycocotools will read the file that a metric scores against as it is meant."""
    if evaluator.get('format_only') or 'segm' not in evaluator.get('metric', 'bbox'):
        return
    for mistake in filter(None, [scored.bad_mask, scored.unscorable_mask]):
        raise UserError(f'{path}: {mistake}')
