"""Checks of a config's data sets before anything slow starts: all there, readable, fitting.

mmdet, mmseg and mmpretrain find out late, or never: categories whose names match nothing leave an
empty data set, label maps in another convention train on the wrong classes, and a missing image
ends an epoch half way.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS, DefaultScope

from ..errors import UserError
from ..utils.messages import some
from ..utils.nested import heads_classes, unwrap
from .coco_checks import CocoFiles, check_coco
from .copies import copies_note, twins_note
from .imagefolder_checks import check_image_folders
from .labelmap_checks import check_label_maps
from .object_limits import limit_notes
from .paths import LAYOUTS, Place
from .statistics import Survey
from .tokenlabels import check_token_labels


class Known(NamedTuple):
    """What the splits checked before have told.

    Attributes:
        coco: reads COCO's json files, each once.
        class_folders: the class folders of each split of a classification set.
        paths: the images of each split.
    """

    coco: CocoFiles
    class_folders: dict[str, list[str]]
    paths: dict[str, list[str]]


def log(note: str) -> None:
    """Tell a note to mmengine's current logger."""
    print_log(note, logger='current')


def check_datasets(
    cfg: Config,
    splits: Sequence[str],
    tell: Callable[[str], object] = log,
    known: Known | None = None,
) -> dict[str, int | None]:
    """Check the data sets that a config reads for some splits.

    What is checked: folders, annotation files, images, label maps and token labels (all are there;
    a sample is read), class names, and the number of classes of the model's heads. COCO's json
    files, mmseg's folders of label maps and mmpretrain's folders of classes are known; of other
    data sets only the folders are checked.

    Args:
        cfg: a whole config, after every option was applied.
        splits: of 'train', 'val' and 'test'; one without a data loader is passed over.
        tell: takes what is worth knowing, a line at a time.
        known: what earlier calls have read.

    Returns:
        The number of images that each split uses; None where it is unknown.

    Raises:
        UserError: the first thing that is missing or doesn't fit.
    """
    known = known or Known(CocoFiles(), {}, {})
    images: dict[str, int | None] = {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            loader = cfg.get(f'{split}_dataloader')
            if not loader:
                continue
            evaluators = _as_list(cfg.get(f'{split}_evaluator'))
            for settings in unwrap(loader['dataset']):
                survey = _check(cfg, split, settings, evaluators, known)
                survey.finish(lambda note, split=split: tell(f'{split} data: {note}'))
                # What a wrapper or `indices` leaves of it is not known.
                plain = settings is loader['dataset'] and settings.get('indices') is None
                images[split] = survey.images if plain else None
    return images


def check_places(cfg: Config, splits: Sequence[str]) -> list[str]:
    """Check only that the folders and files are there that a config's data sets name.

    Returns:
        The data sets' folders.

    Raises:
        UserError: the first one that is missing.
    """
    roots = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            loader = cfg.get(f'{split}_dataloader')
            for settings in unwrap(loader['dataset']) if loader else ():
                dataset = build_unread(split, settings)
                place = Place(split, dataset.data_root)
                place.require_root()
                if dataset.ann_file and not os.path.isfile(dataset.ann_file):
                    raise place.missing(dataset.ann_file, 'is missing', LAYOUTS)
                folders = getattr(dataset, 'data_prefix', {}).values()
                for folder in filter(None, folders):
                    place.require_folder(folder)
                roots.append(os.path.abspath(dataset.data_root or '.'))
    return list(dict.fromkeys(roots))


def _check(
    cfg: Config, split: str, settings: Mapping, evaluators: list[Mapping], known: Known
) -> Survey:
    """Check one data set with everything the config has to say about it."""
    if settings.get('backend_args'):
        return Survey(['not on this file system, so not checked'])
    dataset = build_unread(split, settings)
    place = Place(split, dataset.data_root)
    place.require_root()
    classes = dataset.metainfo.get('classes')
    survey = Survey()
    if _is_coco(dataset):
        masks, key = _loads_masks(settings), f'{split}_dataloader.dataset'
        survey = check_coco(dataset, place, evaluators, known.coco, masks, key)
        survey.notes += limit_notes(cfg, split, survey.most, survey.of_one)
    elif _is_image_folders(dataset):
        classes, survey = check_image_folders(dataset, place, evaluators, known.class_folders)
        if hasattr(dataset, 'token_label_root'):
            check_token_labels(dataset, place, len(classes), survey.paths)
    elif _is_label_maps(dataset):
        scored = not evaluators or any(not metric.get('format_only') for metric in evaluators)
        survey = check_label_maps(dataset, place, scored)
    else:
        kind = type(dataset).__name__
        return Survey([f'{kind} is not a layout known here; only its folder was checked'])
    known.paths.setdefault(split, []).extend(survey.paths)
    survey.notes += twins_note(survey.paths)
    if split != 'train':
        survey.notes += copies_note(survey.paths, known.paths.get('train', []))
    _check_heads(cfg, classes, split)
    if _is_coco(dataset) and split != 'train' and cfg.get('train_dataloader'):
        trained = build_unread('train', next(unwrap(cfg.train_dataloader.dataset)))
        _check_same_classes(split, classes, trained.metainfo.get('classes') or classes)
    return survey


def _check_same_classes(split: str, classes: Sequence[str], trained: Sequence[str]) -> None:
    """Check that a split numbers the classes as the training set does."""
    if list(classes) != list(trained):
        raise UserError(
            f"{split} data: its classes are {some(classes)}, the training set's {some(trained)}; "
            'a model knows only their numbers, so both need the same names in the same order: set '
            f'{split}_dataloader.dataset.metainfo to that of train_dataloader.dataset'
        )


def build_unread(split: str, settings: Mapping) -> BaseDataset:
    """Build a data set without reading files, so that its paths and classes are resolved."""
    settings = {**settings, 'pipeline': [], 'lazy_init': True}
    classes = (settings.get('metainfo') or {}).get('classes')
    if isinstance(classes, str) and '/' not in classes and '.' not in classes:
        raise UserError(
            f'{split} data: metainfo classes={classes!r} is one string; a tuple of one class is '
            f'written ({classes!r},), with a comma'
        )
    try:
        return DATASETS.build(settings)
    except ValueError as error:
        if 'is not a subset of classes' not in str(error):
            raise
        raise UserError(
            f"{split} data: metainfo classes {tuple(classes)} are not {settings['type']}'s own; "
            "for label maps of your own write type='BaseSegDataset', with reduce_zero_label and "
            'metainfo'
        ) from error


def _is_coco(dataset: BaseDataset) -> bool:
    """Tell whether a data set is read as mmdet's CocoDataset reads its json."""
    try:
        from mmdet.datasets import CocoDataset
    except ImportError:
        return False
    kind = type(dataset)
    return (
        issubclass(kind, CocoDataset)
        and kind.load_data_list is CocoDataset.load_data_list
        and kind.parse_data_info is CocoDataset.parse_data_info
    )


def _is_label_maps(dataset: BaseDataset) -> bool:
    """Tell whether a data set is read as mmseg's BaseSegDataset reads its folders."""
    try:
        from mmseg.datasets import BaseSegDataset
    except ImportError:
        return False
    kind = type(dataset)
    return issubclass(kind, BaseSegDataset) and kind.load_data_list is BaseSegDataset.load_data_list


def _is_image_folders(dataset: BaseDataset) -> bool:
    """Tell whether a data set is read as mmpretrain's CustomDataset reads folders and lists."""
    try:
        from mmpretrain.datasets import CustomDataset
    except ImportError:
        return False
    kind = type(dataset)
    return issubclass(kind, CustomDataset) and kind.load_data_list is CustomDataset.load_data_list


def _loads_masks(settings: Mapping) -> bool:
    return any(step.get('with_mask') for step in settings.get('pipeline', ()))


def _check_heads(cfg: Config, classes: Sequence[str], split: str) -> None:
    """Compare the ``num_classes`` of every head with the data set's classes.

    mmpretrain's data preprocessor has one as well, for the labels that mixup mixes.
    """
    counts = dict(heads_classes(cfg.model, 'model'))
    preprocessor = cfg.get('data_preprocessor') or {}
    if 'num_classes' in preprocessor:
        counts['data_preprocessor.num_classes'] = preprocessor['num_classes']
    wrong = {key: n for key, n in counts.items() if n != len(classes)}
    if wrong:
        names = ', '.join(classes[:3]) + (', ...' if len(classes) > 3 else '')
        found = ', '.join(f'{key}={n}' for key, n in wrong.items())
        fix = ' '.join(f'{key}={len(classes)}' for key in wrong)
        raise UserError(
            f'{found}, but the {split} data set has {len(classes)} classes ({names}); set '
            f'--cfg-options {fix}, or metainfo=dict(classes=...) of the data set'
        )


def _as_list(settings: object) -> list[Mapping]:
    if not settings:
        return []
    return list(settings) if isinstance(settings, (list, tuple)) else [settings]
