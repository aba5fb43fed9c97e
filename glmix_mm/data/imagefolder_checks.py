"""Checks of a classification set: a folder of images for each class, or a list of images."""

import os
from collections.abc import Mapping, Sequence
from itertools import chain

from mmcv.image.geometric import cv2_interp_codes, pillow_interp_codes
from mmengine.dataset import BaseDataset

from ..errors import UserError
from ..models.evaluation import check_interpolation
from ..utils.commands import spelled
from ..utils.messages import some
from .paths import IMAGENET_LAYOUT, Place, read_lines, require_images
from .statistics import Survey, survey_images

DIGITS = 9  # of a class; Python refuses to read 5,000
SHOWN_LINES = 3  # of a list that a message quotes


def check_image_folders(
    dataset: BaseDataset,
    place: Place,
    evaluators: Sequence[Mapping],
    folders: dict[str, list[str]],
) -> tuple[Sequence[str], Survey]:
    """Check a data set that mmpretrain's ``CustomDataset``, and so ``ImageNet``, reads.

    Args:
        dataset: built without being read; its paths and classes are resolved.
        place: its folder.
        evaluators: settings of the split's metrics.
        folders: the class folders of the splits checked so far; this split's are added.

    Returns:
        The names of the classes, the data set's own or those of its folders, and what else is to
        be said of its images.

    Raises:
        UserError: what is missing or doesn't fit.
    """
    place.require_folder(dataset.img_prefix, IMAGENET_LAYOUT)
    _check_interpolations(dataset, place.split)
    classes = dataset.metainfo.get('classes')
    if not dataset.with_label:
        raise UserError(
            f'{place.split} data: {dataset.img_prefix} is read without labels (split="test" or '
            'with_label=False), so nothing could be learned or scored; use the split "val"'
        )
    if dataset.ann_file:
        listed = _check_list(dataset, place, classes)
        _check_topk(place.split, classes, evaluators)
        return classes, _survey(dataset.img_prefix, listed)
    names = _class_folders(dataset, place)
    images = {name: _images(dataset, name) for name in names}
    _check_folders(dataset, images, classes)
    for split, others in folders.items():
        _compare(place.split, names, split, others)
    folders[place.split] = names
    _check_topk(place.split, names, evaluators)
    survey = _survey(dataset.img_prefix, sorted(chain.from_iterable(images.values())))
    few, many = (pick(names, key=lambda name: len(images[name])) for pick in (min, max))
    range_ = f'from {len(images[few])} ({few}) to {len(images[many])} ({many})'
    each = range_ if len(images[few]) < len(images[many]) else len(images[few])
    survey.notes.insert(0, f'{survey.images} images of {len(names)} classes, {each} each')
    return classes or names, survey


def _survey(root: str, names: Sequence[str]) -> Survey:
    """Look at images, given by their paths below a folder."""
    survey = survey_images(root, names)
    survey.images = len(names)
    survey.paths = [os.path.join(root, name) for name in names]
    return survey


def _images(dataset: BaseDataset, name: str) -> list[str]:
    """Return the images of a class, by their paths below the folder of all classes."""
    root = dataset.img_prefix
    return [
        os.path.relpath(os.path.join(folder, file), root)
        for folder, _, files in os.walk(os.path.join(root, name), followlinks=True)
        for file in files
        if dataset.is_valid_file(file)
    ]


def _check_interpolations(dataset: BaseDataset, split: str) -> None:
    for step in dataset.pipeline.transforms:
        interpolation = getattr(step, 'interpolation', None)
        if isinstance(interpolation, str):
            pillow = getattr(step, 'backend', 'cv2') == 'pillow'
            choices = pillow_interp_codes if pillow else cv2_interp_codes
            check_interpolation(f'{split} data: {type(step).__name__}', interpolation, choices)


def _check_topk(split: str, classes: Sequence[str], evaluators: Sequence[Mapping]) -> None:
    for evaluator in evaluators:
        topk = evaluator.get('topk', 1)
        largest = max(topk) if isinstance(topk, (list, tuple)) else topk
        if largest > len(classes):
            raise UserError(
                f'{split}_evaluator.topk is {topk}, but there are {len(classes)} classes; set '
                '--cfg-options val_evaluator.topk=1 test_evaluator.topk=1'
            )


def _class_folders(dataset: BaseDataset, place: Place) -> list[str]:
    root = dataset.img_prefix
    with os.scandir(root) as entries:
        entries = list(entries)
    names = sorted(entry.name for entry in entries if entry.is_dir())
    images = [entry.name for entry in entries if dataset.is_valid_file(entry.name)]
    if names:
        return names
    listed = os.path.join(place.root or '.', 'meta', f'{os.path.basename(root.rstrip("/"))}.txt')
    raise UserError(
        f'{place.split} data: {os.path.abspath(root)} has no labels: it holds {len(images)} images '
        f'and no folder for each class, and there is no {os.path.abspath(listed)} with lines such '
        'as "ILSVRC2012_val_00000001.JPEG 65"; sort the images into a folder for each class, or '
        f'write this file; without labels, {spelled("predict")} CONFIG CHECKPOINT {root}'
    )


def _check_folders(
    dataset: BaseDataset, images: Mapping[str, list[str]], classes: Sequence[str] | None
) -> None:
    root, names = os.path.abspath(dataset.img_prefix), list(images)
    if classes is not None and len(names) != len(classes):
        raise UserError(
            f'{root}: has {len(names)} class folders ({some(names)}) instead of {len(classes)}; '
            'classes are numbered in the order of the folders, so one folder too few or too many '
            'shifts them; complete it, or set metainfo=dict(classes=...) of the data set (and the '
            "head's num_classes) to your own classes"
        )
    if classes is not None and sorted(classes) == names and list(classes) != names:
        raise UserError(
            f'{root}: its folders are numbered in the order of their names ({some(names)}), not in '
            f"that of the data set's classes ({some(classes)}); set metainfo=dict(classes=...) of "
            'the data set in the order of the folders'
        )
    empty = [name for name in names if not images[name]]
    if empty:
        raise UserError(
            f'{root}: {len(empty)} of the {len(names)} class folders hold no image '
            f'({some(empty)}); expected files in {", ".join(sorted(dataset.extensions))}: add '
            'some, or delete the folders'
        )


def _compare(split: str, names: list[str], other_split: str, others: list[str]) -> None:
    strange = sorted(set(names) ^ set(others))
    if strange:
        raise UserError(
            f'the class folders of {split} and {other_split} differ in {some(strange)}, so the '
            'same class would have two numbers; give both the same folders'
        )


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= DIGITS


def _check_list(dataset: BaseDataset, place: Place, classes: Sequence[str] | None) -> list[str]:
    """Check a list of lines ``PATH CLASS``, and that its images are there; return their paths."""
    path = dataset.ann_file
    if not os.path.isfile(path):
        raise place.missing(path, 'is missing', IMAGENET_LAYOUT)
    if not classes:
        raise UserError(
            f'{place.split} data: {path} numbers the classes but does not name them; set '
            'metainfo=dict(classes=...) of the data set'
        )
    lines = [line.rsplit(' ', 1) for line in read_lines(path)]
    wrong = [' '.join(line) for line in lines if len(line) != 2 or not _is_number(line[1])]
    if wrong or not lines:
        raise UserError(
            f'{path}: {len(wrong)} of its {len(lines)} lines have no label '
            f'({some(wrong, SHOWN_LINES) or "it is empty"}); expected lines such as '
            '"ILSVRC2012_val_00000001.JPEG 65", a path and the number of a class'
        )
    numbers, labels = set(range(len(classes))), {int(label) for _, label in lines}
    absent = sorted(numbers - labels) if place.split == 'train' else []
    if labels - numbers or absent:
        strange = f'has labels {some(sorted(labels - numbers))}, which are out of range'
        raise UserError(
            f'{path}: {strange if labels - numbers else f"lacks the classes {some(absent)}"}; '
            f'expected 0 to {len(classes) - 1} for the {len(classes)} classes'
        )
    names = [name for name, _ in lines]
    require_images(path, dataset.img_prefix, names, 'correct the list')
    return names
