"""The label that a segmentor ignores: one number for its heads, its data and its scores.

mmseg states it in each of these places, 255 by default, and pads label maps with 255 whatever they
say. A label that only one of them ignores is a class too many for the others.
"""

from collections.abc import Iterable, Iterator, Mapping

from mmengine.config import Config

from ..errors import UserError
from ..utils.nested import nested_dicts, unwrap

KEY = 'ignore_index'
IGNORED = 255  # by default
HEADS = ('decode_head', 'auxiliary_head')
# Losses that have a label of their own besides the one that their head tells them.
LOSSES = {
    'DiceLoss': KEY,
    'HuasdorffDistanceLoss': KEY,
    'TverskyLoss': KEY,
    'OhemCrossEntropy': 'ignore_label',
}
# Steps of a pipeline that know the label, and under which name.
STEPS = {
    'RandomCrop': KEY,
    'GenerateEdge': KEY,
    'RandomRotate': 'seg_pad_val',
    'RandomMosaic': 'seg_pad_val',
}


def share_ignored_label(cfg: Config) -> list[str]:
    """Set ``ignore_index`` wherever a segmentor's config leaves it out, and what label maps pad.

    The heads and the training data have one, and so have the metrics and the data of each other
    split; where these state none, it is the heads'.

    Args:
        cfg: a config; one that is not mmseg's stays as it is.

    Returns:
        What was set, to be told; nothing where the label is 255 everywhere.

    Raises:
        UserError: two parts that need the same label state different ones.
    """
    if cfg.get('default_scope') != 'mmseg':
        return []
    heads = {f'model.{name}': cfg.model.get(name) for name in HEADS}
    changed: list[str] = []
    label = _share([*_parts(heads), *_data(cfg, 'train')], IGNORED, changed)
    for split in ('val', 'test'):
        metrics = _parts({f'{split}_evaluator': cfg.get(f'{split}_evaluator')})
        metrics = [(key, m) for key, m in metrics if KEY in m or m.get('type') == 'IoUMetric']
        _share([*metrics, *_data(cfg, split)], label, changed)
    if label != IGNORED:
        changed += [*_set_losses(heads, label), *_pad(cfg, label)]
    return [f'{KEY} is {label}; set as well: {", ".join(changed)}'] if changed else []


def _share(parts: Iterable[tuple[str, dict]], default: int, changed: list[str]) -> int:
    """Give all parts the label that some of them state; return it."""
    parts = list(parts)
    stated = {f'{key}.{KEY}': part[KEY] for key, part in parts if part.get(KEY) is not None}
    if len(set(stated.values())) > 1:
        found = ', '.join(f'{key}={value}' for key, value in stated.items())
        raise UserError(f'{found}: expected one label that all of these ignore; set the same')
    label = next(iter(stated.values()), default)
    for key, part in parts:
        if part.get(KEY, IGNORED) != label:
            part[KEY] = label
            changed.append(f'{key}.{KEY}')
    return label


def _set_losses(heads: Mapping, label: int) -> Iterator[str]:
    """Set the label of losses, and of heads within heads; yield the keys."""
    for key, head in _parts(heads):
        for settings in nested_dicts(head):
            name = LOSSES.get(settings.get('type'), KEY if 'num_classes' in settings else None)
            if name and settings.get(name) != label:
                settings[name] = label
                yield f'{key}: {settings.get("type")}.{name}'


def _pad(cfg: Config, label: int) -> Iterator[str]:
    """Set what is put where an image ends; yield the keys."""
    preprocessor = cfg.model.get('data_preprocessor')
    if preprocessor and preprocessor.get('seg_pad_val') != label:
        preprocessor['seg_pad_val'] = label
        yield 'model.data_preprocessor.seg_pad_val'
    for key, dataset in _data(cfg, 'train'):
        for place, step in enumerate(dataset.get('pipeline') or ()):
            name = STEPS.get(step['type'])
            if name and step.get(name) != label:
                step[name] = label
                yield f'{key}.pipeline.{place}.{name}'
            if step['type'] == 'Pad':
                own = step.get('pad_val', 0)
                own = dict(own) if isinstance(own, Mapping) else dict(img=own)
                if own.get('seg') != label:
                    step['pad_val'] = dict(own, seg=label)
                    yield f'{key}.pipeline.{place}.pad_val'


def _parts(settings: Mapping) -> Iterator[tuple[str, dict]]:
    """Yield the key and value of each dict, or of each in a list."""
    for key, value in settings.items():
        if isinstance(value, (list, tuple)):
            yield from ((f'{key}.{i}', item) for i, item in enumerate(value))
        elif value is not None:
            yield key, value


def _data(cfg: Config, split: str) -> Iterator[tuple[str, dict]]:
    loader = cfg.get(f'{split}_dataloader')
    sets = list(unwrap(loader.dataset)) if loader else []
    key = f'{split}_dataloader.dataset'
    return _parts({key: sets[0] if len(sets) == 1 else sets})
