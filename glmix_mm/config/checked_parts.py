"""Puts checked parts in place of the libraries' own, so that a dumped config names them."""

from collections.abc import Mapping, Sequence

from mmengine.config import Config, ConfigDict

from ..utils.nested import nested_dicts, unwrap
from .edits import require

LABELS = 'CheckedLoadLabels'


def use_checked_parts(cfg: Config, splits: Sequence[str]) -> None:
    """Let a run refuse damaged or unfitting images and label maps, and weigh classes rightly.

    The pipelines of other splits stay as they are: the libraries' inferencers look for
    ``LoadImageFromFile`` in the test pipeline of the config that a training leaves.

    Args:
        cfg: the config.
        splits: of 'train', 'val' and 'test', those that the run reads.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in unwrap(loader.dataset) if loader else ():
            use_checked_images(cfg, dataset.get('pipeline'))
            _check_labels(cfg, dataset)
    if 'train' in splits:
        _weigh_classes(cfg)


def use_checked_images(cfg: Config, pipeline: Sequence[Mapping]) -> None:
    """Let a pipeline of a config refuse images that are damaged or not of the stated size."""
    for step in nested_dicts(pipeline):
        if step.get('type') in ('LoadImageFromFile', 'mmcv.LoadImageFromFile'):
            step['type'] = 'CheckedLoadImage'
            require(cfg, 'glmix_mm.data.checked_loading')


def use_own_loading(cfg: Config) -> None:
    """Undo the above in the test pipeline: the libraries' inferencers look for their own steps."""
    for step in nested_dicts(cfg.get('test_dataloader')):
        if step.get('type') == 'CheckedLoadImage':
            step['type'] = 'LoadImageFromFile'
        if step.get('type') == LABELS:
            step['type'] = 'LoadAnnotations'
            step.pop('num_classes', None)
            step.pop('ignore_index', None)


def _check_labels(cfg: Config, dataset: ConfigDict) -> None:
    for step in nested_dicts(dataset.get('pipeline')):
        if step.get('type') == LABELS or _is_mmseg(cfg, step, 'LoadAnnotations'):
            count = _number_of_classes(cfg)
            step.update(type=LABELS, num_classes=count, ignore_index=dataset.get('ignore_index'))
            require(cfg, 'glmix_mm.data.checked_labels')


def _number_of_classes(cfg: Config) -> int | None:
    """Return what a segmentor's heads tell apart, which is as many classes as its data have."""
    model = cfg.model.get('module', cfg.model)  # of test-time augmentation
    heads = nested_dicts(model.get('decode_head'))
    return next((head['num_classes'] for head in heads if head.get('num_classes')), None)


def _weigh_classes(cfg: Config) -> None:
    """Divide mmseg's cross-entropy with class weights by the weights of the pixels that count."""
    for loss in nested_dicts(cfg.model):
        if _is_mmseg(cfg, loss, 'CrossEntropyLoss') and loss.get('class_weight'):
            loss['type'] = 'WeightedCrossEntropyLoss'
            require(cfg, 'glmix_mm.models.cross_entropy')


def _is_mmseg(cfg: Config, part: Mapping, name: str) -> bool:
    """Tell whether a part of a config is mmseg's own of this name."""
    kind = part.get('type')
    return kind == f'mmseg.{name}' or (kind == name and cfg.get('default_scope') == 'mmseg')
