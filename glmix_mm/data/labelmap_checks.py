"""Checks of a semantic segmentation data set: a folder of images and one of label maps."""

import os
from collections import Counter
from collections.abc import Iterator

from mmengine.dataset import BaseDataset

from ..config.ignored_label import IGNORED
from ..errors import UserError
from ..utils.commands import spelled
from ..utils.messages import some
from ..utils.pictures import ENDINGS
from .label_statistics import count_labels, refuse_other_archives, survey_label_maps
from .paths import ADE_LAYOUT, Place, read_lines
from .statistics import DECODED, Survey, evenly, in_threads

LOSSY = ('.jpg', '.jpeg')


def check_label_maps(dataset: BaseDataset, place: Place, scored: bool = True) -> Survey:
    """Check a data set that mmseg's ``BaseSegDataset`` reads.

    Args:
        dataset: built without being read; its paths, suffixes and classes are resolved.
        place: its folder.
        scored: whether label maps are needed: to train, or to score predictions.

    Returns:
        What else is to be said of its images and labels.

    Raises:
        UserError: what is missing or doesn't fit.
    """
    refuse_other_archives(place.root)
    images = dataset.data_prefix['img_path']
    labels = dataset.data_prefix.get('seg_map_path')
    place.require_folder(images, ADE_LAYOUT)
    _check_ignored(dataset, place)
    stems = _listed(dataset, place) if dataset.ann_file else _stems(images, dataset.img_suffix)
    if not stems:
        raise UserError(
            f'{place.split} data: {os.path.abspath(images)} has no *{dataset.img_suffix}, but '
            f'{_endings(images)}; set img_suffix of the data set'
        )
    if dataset.ann_file:
        _require_files(images, stems, dataset.img_suffix, f'images listed in {dataset.ann_file}')
    if not scored:
        return Survey(images=len(stems))
    unlabelled = stems - _stems(labels, dataset.seg_map_suffix) if labels else stems
    if place.split == 'test' and unlabelled:
        where = os.path.abspath(labels) if labels else 'data_prefix, which has no seg_map_path,'
        count = f'{len(unlabelled)} of the {len(stems)}' if unlabelled < stems else len(stems)
        raise UserError(
            f'test data: {where} holds no label map of {count} images in '
            f'{os.path.abspath(images)}, the first is {min(unlabelled)}{dataset.seg_map_suffix}, '
            'so they cannot be scored; complete the label maps, or predict instead, '
            f'{spelled("predict")} CONFIG CHECKPOINT {images}, or write label maps to submit, '
            '--cfg-options test_evaluator.format_only=True test_evaluator.output_dir=DIR'
        )
    if not labels:
        raise UserError(
            f'{place.split} data: data_prefix has no seg_map_path; set the folder of label maps'
        )
    place.require_folder(labels, ADE_LAYOUT)
    if dataset.seg_map_suffix.lower().endswith(LOSSY):
        raise UserError(
            f'{os.path.abspath(labels)}: label maps are JPEGs (*{dataset.seg_map_suffix}), whose '
            'compression changes labels along every edge; make them anew as PNGs'
        )
    _require_files(labels, stems, dataset.seg_map_suffix, 'label maps of the images')
    extra = _stems(labels, dataset.seg_map_suffix) - stems
    if extra and not dataset.ann_file:
        other = sorted(name for name in _walk(images) if os.path.splitext(name)[0] in extra)
        fix = 'complete the images, or move these label maps to another folder'
        if other:
            fix = (
                f'{len(other)} images have other endings, such as {other[0]}: mmseg reads one '
                f'ending, so convert them to *{dataset.img_suffix}'
            )
        raise UserError(
            f'{place.split} data: {len(extra)} of the label maps in {os.path.abspath(labels)} have '
            f'no image in {os.path.abspath(images)} ({len(stems)} images), the first is '
            f'{min(extra)}{dataset.seg_map_suffix}; {fix}'
        )
    chosen = evenly(sorted(stems), DECODED)
    paths = [os.path.join(labels, stem + dataset.seg_map_suffix) for stem in chosen]
    counts = _check_values(dataset, labels, paths)
    pairs = [
        (os.path.join(images, stem + dataset.img_suffix), path)
        for stem, path in zip(chosen, paths, strict=True)
    ]
    # With a selection of the classes the files still hold all of them.
    every = type(dataset).METAINFO if dataset.label_map else dataset.metainfo
    classes = list(every['classes'])
    first = 1 if dataset.reduce_zero_label else 0
    learned = place.split == 'train'
    survey = survey_label_maps(
        pairs, len(stems), counts, classes, first, dataset.ignore_index, learned
    )
    other = sorted(name for name in _walk(images) if _is_other_image(name, dataset.img_suffix))
    if other and not dataset.ann_file and not os.path.samefile(images, labels):
        survey.notes.append(
            f'warning: {len(other)} images with other endings, such as {other[0]}, are not read: '
            f'mmseg reads one ending, so convert them to *{dataset.img_suffix}, or move them'
        )
    survey.paths = [os.path.join(images, stem + dataset.img_suffix) for stem in sorted(stems)]
    return survey


def _is_other_image(name: str, suffix: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.endswith(suffix)


def _check_ignored(dataset: BaseDataset, place: Place) -> None:
    """Refuse another ignored label where mmseg itself writes 255 into the label maps."""
    if dataset.ignore_index == IGNORED:
        return
    writes = dict(reduce_zero_label=dataset.reduce_zero_label, classes=dataset.label_map)
    for key, value in writes.items():
        if value:
            raise UserError(
                f'{place.split} data: ignore_index={dataset.ignore_index}, but where {key} leaves '
                f'labels out, mmseg turns them into {IGNORED}, which nothing would ignore; set '
                f'ignore_index={IGNORED} everywhere, or number the label maps without {key}'
            )


def _listed(dataset: BaseDataset, place: Place) -> set[str]:
    """Return the names that ``ann_file`` lists, one per line."""
    if not os.path.isfile(dataset.ann_file):
        raise place.missing(dataset.ann_file, 'is missing', ADE_LAYOUT)
    return set(read_lines(dataset.ann_file))


def _walk(folder: str) -> Iterator[str]:
    """Yield every file under a folder, relative to it, with '/' between the parts."""
    for parent, _, names in os.walk(folder):
        part = os.path.relpath(parent, folder)
        for name in names:
            yield name if part == '.' else f'{part.replace(os.sep, "/")}/{name}'


def _stems(folder: str, suffix: str) -> set[str]:
    return {name.removesuffix(suffix) for name in _walk(folder) if name.endswith(suffix)}


def _endings(folder: str) -> str:
    """Say which endings the files of a folder have."""
    endings = sorted({os.path.splitext(name)[1] for name in _walk(folder)})
    return ', '.join(f'*{ending}' for ending in endings) or 'no files'


def _require_files(folder: str, stems: set[str], suffix: str, what: str) -> None:
    missing = sorted(stems - _stems(folder, suffix))
    if missing:
        raise UserError(
            f'{len(missing)} of the {len(stems)} {what} are not in {os.path.abspath(folder)}, the '
            f'first is {missing[0]}{suffix} (found there: {_endings(folder)})'
        )


def _check_values(dataset: BaseDataset, folder: str, paths: list[str]) -> Counter:
    """Check the values of label maps against the number of classes; return the pixels of each.

    With ``reduce_zero_label``, 0 is ignored and label k is class k - 1.
    """
    total: Counter = Counter()
    seen: set[int] = set()
    # With a selection of the classes the files still hold all of them.
    count = len(dataset.label_map or dataset.metainfo['classes'])
    first = 1 if dataset.reduce_zero_label else 0
    ignored = dataset.ignore_index
    valid = set(range(first, first + count))
    for path, counts in zip(paths, in_threads(count_labels, paths), strict=True):
        values = set(counts)
        strange = sorted(values - valid - {ignored} - set(range(first)))
        if strange:
            raise UserError(
                f'{path}: has label {some(strange)}, expected {first} to {first + count - 1} for '
                f'{count} classes or {ignored} (ignored){_hint(dataset, seen | values, count)}'
            )
        seen |= values
        total += counts
    if not seen & (valid - {ignored}):
        raise UserError(
            f'{folder}: all sampled pixels are ignored (labels {some(sorted(seen))}); with '
            f'reduce_zero_label={dataset.reduce_zero_label} the {count} classes are '
            f'{first} to {first + count - 1}'
        )
    if count == 2 and seen == {0, ignored}:
        raise UserError(
            f'{folder}: sampled label maps hold 0 and {ignored}, which is ignored; write the '
            'second class as 1'
        )
    return total


def _hint(dataset: BaseDataset, seen: set[int], count: int) -> str:
    if not dataset.reduce_zero_label and max(seen - {dataset.ignore_index}) == count:
        return (
            '; if labels count from 1 and 0 is to be ignored, as in ADE20K, set '
            'reduce_zero_label=True'
        )
    return ''
