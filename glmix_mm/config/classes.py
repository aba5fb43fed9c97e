"""Sets the classes of a config: names, files and every number of classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from ..utils.messages import some
from ..utils.nested import SPLITS, heads_classes, nested_dicts, unwrap
from ..utils.palette import distinct_colours
from .edits import match_by_name


def datasets_of(cfg: Config, *splits: str) -> Iterator[ConfigDict]:
    """Yield the settings of the data sets of some splits, by default of all, in order."""
    for split in splits or SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        yield from unwrap(loader.dataset) if loader else ()


@dataclass(frozen=True)
class Found:
    """What the files of a data set say, to be set in a config.

    Attributes:
        classes: their names.
        notes: what was found, to be told.
        datasets: settings of each data set, in the order of :func:`datasets_of`.
        ann_files: of each split, the annotation file that its evaluators read.
        palette: a colour (RGB) for each class; without, they get distinct ones.
    """

    classes: Sequence[str]
    notes: Sequence[str]
    datasets: Sequence[Mapping]
    ann_files: Mapping[str, str] = field(default_factory=dict)
    palette: Sequence[tuple[int, int, int]] | None = None


def use_found(cfg: Config, found: Found) -> list[str]:
    """Set paths, classes and every ``num_classes`` to those of the data set; return the notes.

    Raises:
        UserError: a head or a loss is for another number of classes and cannot follow.
    """
    for dataset, settings in zip(datasets_of(cfg), found.datasets, strict=True):
        dataset.update(settings)
        if dataset['type'] == 'CustomDataset':  # was an ImageNet, which has splits of its own
            dataset.pop('split', None)
    for split, path in found.ann_files.items():
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
            if evaluator.get('ann_file'):
                evaluator['ann_file'] = path
    if cfg.get('default_scope') == 'mmseg':
        # mmseg's pipelines repeat the setting, and insist that it is the data set's.
        loaders = [cfg.get(f'{split}_dataloader') for split in SPLITS]
        for step in nested_dicts([*filter(None, loaders), cfg.get('tta_pipeline')]):
            if str(step.get('type')).endswith(('LoadAnnotations', 'CheckedLoadLabels')):
                step.pop('reduce_zero_label', None)
        _set_outputs(cfg, found.classes)
    if cfg.get('default_scope') == 'mmdet':
        match_by_name(cfg)  # in the encoding that the names were read in, too
    set_classes(cfg, found.classes, found.palette)
    return list(found.notes)


def set_classes(
    cfg: Config, classes: Sequence[str], palette: Sequence[tuple[int, int, int]] | None = None
) -> None:
    """Set the classes of every data set, and ``num_classes`` of every head.

    Raises:
        UserError: a loss weighs another number of classes.
    """
    palette = [tuple(colour) for colour in palette or distinct_colours(len(classes))]
    for dataset in datasets_of(cfg):
        dataset['metainfo'] = dict(classes=tuple(classes), palette=palette)
    for settings in nested_dicts(cfg.model):
        if 'num_stuff_classes' in settings:  # what is read here are things
            settings.update(num_things_classes=len(classes), num_stuff_classes=0)
    keys = [key for key, _ in heads_classes(cfg.model, 'model')]
    cfg.merge_from_dict({key: len(classes) for key in keys})
    for settings in nested_dicts(cfg.model):
        weights = settings.get('class_weight')
        if isinstance(weights, (list, tuple)):
            settings['class_weight'] = _fit_weights(weights, len(classes), settings, cfg)
    for preprocessor in (cfg.get('data_preprocessor'), cfg.model.get('data_preprocessor')):
        if preprocessor and 'num_classes' in preprocessor:
            preprocessor['num_classes'] = len(classes)
    if cfg.get('default_scope') == 'mmpretrain':  # detectors' assigners have another topk
        _count_in_metrics(cfg, len(classes))


def _count_in_metrics(cfg: Config, count: int) -> None:
    """Let losses and metrics count so many classes, and no rank beyond them."""
    evaluators = [cfg.get(f'{split}_evaluator') for split in SPLITS]
    for settings in nested_dicts([cfg.model, *evaluators]):
        topk = settings.get('topk', 1)
        topk = topk if isinstance(topk, (list, tuple)) else [topk]
        if max(topk) > count:
            settings['topk'] = tuple(k for k in topk if k <= count) or (1,)
        if 'num_classes' in settings:
            settings['num_classes'] = count


def _fit_weights(weights: Sequence[float], count: int, settings: dict, cfg: Config) -> list[float]:
    """Return the weights of a loss for so many classes, and its own of the background behind.

    Raises:
        UserError: they tell classes apart, and there are more or fewer of them.
    """
    # Detectors' softmax losses weigh the background as well.
    if len(weights) - count in (0, 1):
        return list(weights)
    first, *others, last = weights
    if set(others) <= {first}:
        return [first] * count + [last]
    raise UserError(
        f'{settings.get("type")}.class_weight of {cfg.filename} has {len(weights)} '
        f'weights, but the data have {count} classes; set as many, or None'
    )


def _set_outputs(cfg: Config, classes: Sequence[str]) -> None:
    """Set the number of outputs of mmseg's heads that state it besides ``num_classes``.

    Raises:
        UserError: a head has one output, which tells two classes apart, and there are not two.
    """
    for head in nested_dicts(cfg.model):
        outputs, count = head.get('out_channels'), head.get('num_classes')
        if outputs == 1 and count and len(classes) != 2:
            raise UserError(
                f'{cfg.filename}: a {head.get("type")} has out_channels=1, for two classes, but '
                f'the data have {len(classes)} ({some(classes)}); remove out_channels, and '
                'use_sigmoid from its loss'
            )
        if outputs and outputs not in (1, len(classes)) and outputs == count:
            head['out_channels'] = len(classes)
