"""Checks that a checkpoint fits the config, before anything is loaded from it or runs."""

import ast
import copy
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ..datasets.layout import unwrap
from ..errors import UserError
from ..models.backbone import PyramidBackbone
from ..models.pretrained import is_state
from ..platform.states import compare_states
from .config import config_mistakes

SHOWN = 5  # class names that a message lists


def read(path: str) -> dict:
    """Read a checkpoint: a local file, a URL, or a ``glmix://`` name.

    Raises:
        UserError: it is missing, truncated, refused as unsafe, or holds no dict.
    """
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected a dict of tensors, found {type(content).__name__}')
    return content


def weights_of(checkpoint: Mapping, path: str) -> dict[str, Tensor]:
    """Return the weights as mmengine will load them: under 'state_dict', or the dict itself.

    Raises:
        UserError: there are none in either place.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not is_state(state):
        raise UserError(
            f"{path}: no weights under 'state_dict' nor at the top level; it holds "
            f"{', '.join(map(str, checkpoint)) or 'nothing'}. A backbone's pretrained weights "
            'belong into model.backbone.init_cfg instead'
        )
    return {re.sub(r'^module\.', '', key): value for key, value in state.items()}


def build_model(cfg: Config) -> nn.Module:
    """Build the config's model, from a copy: some detectors write into the settings they are given.

    mmdet's DINO and Deformable DETR do, and refuse settings that hold what they wrote.

    Raises:
        UserError: the model's config has a mistake in it.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    _check_pretrained(cfg)
    with config_mistakes(cfg.filename):
        model = MODELS.build(copy.deepcopy(cfg.model))
    _check_channels(model, cfg)
    return model


def _check_pretrained(cfg: Config) -> None:
    """Refuse mmseg's ``pretrained``, which it hands on to a backbone without such a key."""
    kind, weights = (cfg.model.get('backbone') or {}).get('type'), cfg.model.get('pretrained')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if weights and isinstance(kind, type) and issubclass(kind, PyramidBackbone):
        raise UserError(
            f'{cfg.filename}: model.pretrained={weights!r} is for another backbone than '
            f'{kind.__name__}; set model.pretrained=None (its own weights belong into '
            'model.backbone.init_cfg)'
        )


def _check_channels(model: nn.Module, cfg: Config) -> None:
    """Check that what follows the backbone expects the channels that it gives."""
    given = getattr(getattr(model, 'backbone', None), 'out_channels', None)
    if given is None:
        return
    if (cfg.model.get('neck') or {}).get('type') == 'NormPool':
        for name in ('neck', 'head'):
            _compare_channels(name, cfg.model[name].get('in_channels'), given[-1], cfg)
        return
    name = 'neck' if cfg.model.get('neck') else 'decode_head'
    follower = cfg.model.get(name)
    if not isinstance(follower, dict):
        return
    expected, inputs = follower.get('in_channels'), follower.get('in_index')
    if not isinstance(expected, (list, tuple)):
        return
    if isinstance(inputs, (list, tuple)):
        given = [given[i] for i in inputs]
    _compare_channels(name, [*expected], [*given], cfg)


def _compare_channels(name: str, expected: object, given: object, cfg: Config) -> None:
    if expected != given:
        raise UserError(
            f'{cfg.filename}: model.{name}.in_channels is {expected}, but '
            f'{cfg.model.backbone.type} with arch={cfg.model.backbone.get("arch")!r} gives '
            f'{given}; set model.{name}.in_channels to this (with what follows from it)'
        )


def check_fit(expected: Mapping[str, Tensor], checkpoint: Mapping, path: str, cfg: Config) -> None:
    """Check that a checkpoint holds exactly the model's tensors.

    Args:
        expected: the state dict of the config's model.
        checkpoint: the content of the file.
        path: the file, for messages.
        cfg: the config, for messages.

    Raises:
        UserError: it does not; the message tells what differs and what the checkpoint is of.
    """
    # mmengine ignores these counters; checkpoints of frozen batch norms may lack them.
    counters = [key for key in expected if key.endswith('num_batches_tracked')]
    state = weights_of(checkpoint, path)
    difference = compare_states(expected, state, optional=counters)
    if difference.unexpected:
        state = _without_second_names(state, expected)
        difference = compare_states(expected, state, optional=counters)
    if not difference:
        return
    origin = describe_origin(checkpoint)
    is_of = f'the checkpoint is of {origin}; ' if origin else ''
    raise UserError(
        f'{path} does not fit {cfg.filename} ({describe_model(cfg.model)}): '
        f'{difference.describe()}; {is_of}give the config that it was trained with'
    )


def _without_second_names(state: Mapping[str, Tensor], expected: Mapping) -> dict[str, Tensor]:
    """Leave out unexpected parts that only repeat an expected part under a second name.

    A model may give a part a second name when its weights are initialised, as mmdet's DDQ does. A
    tensor of one value, such as a bias of zeros, tells nothing by itself: it goes with its part.
    """

    def same(one: Tensor, other: Tensor | None) -> bool:
        alike = other is not None and (one.shape, one.dtype) == (other.shape, other.dtype)
        return alike and torch.equal(one, other)

    known = {key: tensor for key, tensor in state.items() if key in expected}
    names = {}  # the second name of a part -> the first
    for key, tensor in state.items():
        if key not in expected and tensor.numel() > 1 and not (tensor == tensor.flatten()[0]).all():
            first = next((own for own, other in known.items() if same(tensor, other)), '')
            if first:
                second, own = key.split('.'), first.split('.')
                while second and own and second[-1] == own[-1]:
                    second.pop(), own.pop()
                names['.'.join([*second, ''])] = '.'.join([*own, ''])
    repeats = {
        key
        for key, tensor in state.items()
        for second, first in names.items()
        if key not in expected
        and key.startswith(second)
        and same(tensor, known.get(first + key.removeprefix(second)))
    }
    return {key: tensor for key, tensor in state.items() if key not in repeats}


def check_overlap(
    expected: Mapping[str, Tensor], checkpoint: Mapping, path: str, cfg: Config
) -> str:
    """Return a line that says how much of a checkpoint given as ``load_from`` the model takes.

    Raises:
        UserError: nothing of it.
    """
    state = weights_of(checkpoint, path)
    difference = compare_states(expected, state)
    taken = len(expected) - len(difference.missing) - len(difference.misshapen)
    if difference.mistyped or difference.infinite:
        raise UserError(f'load_from={path}: {difference.describe()}')
    if not taken:
        raise UserError(
            f'load_from={path}: none of its {len(state)} tensors fits {cfg.filename} '
            f'({describe_model(cfg.model)}): {difference.describe()}'
        )
    rest = f'; {difference.describe()}' if difference else ''
    return f'{path}: {taken} of the {len(expected)} tensors of the model are loaded{rest}'


def check_classes(checkpoint: Mapping, path: str, cfg: Config, split: str) -> None:
    """Check that the model was trained for the classes of a data set.

    Args:
        checkpoint: the content of the file; one without ``meta`` passes.
        path: the file, for messages.
        cfg: the config.
        split: 'train', 'val' or 'test'.

    Raises:
        UserError: the classes or their order differ.
    """
    trained = trained_meta(checkpoint).get('classes')
    if trained is None:
        return
    dataset = next(unwrap(cfg[f'{split}_dataloader'].dataset))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with config_mistakes(cfg.filename):
        classes = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True)).metainfo.get('classes')
    if classes is None or list(classes) == list(trained):
        return
    raise UserError(
        f'{path} was trained for {_listing(trained)}, but {split}_dataloader.dataset of '
        f'{cfg.filename} has {_listing(classes)}{_first_difference(trained, classes)}; set the '
        'same classes in the same order (dataset.metainfo), or give a checkpoint trained on this '
        'data set'
    )


def note_of_classes(trained: Sequence[str], own: Sequence[str], name: str) -> str:
    """Say that a checkpoint's classes are not those of the test set of the config ``name``."""
    return (
        f'the checkpoint was trained for {_listing(trained)}, but test_dataloader.dataset of '
        f'{name} has {_listing(own)}{_first_difference(trained, own)}; results have the names of '
        'the checkpoint'
    )


def _first_difference(trained: Sequence[str], own: Sequence[str]) -> str:
    """Return where two lists of names differ first, or '' if one is longer."""
    if len(trained) != len(own):
        return ''
    pair = next((one, other) for one, other in zip(trained, own, strict=True) if one != other)
    return f'; the first difference: {pair[0]!r} there, {pair[1]!r} here'


def record_of(checkpoint: Mapping) -> Mapping:
    """Return the entry ``meta`` of a checkpoint, or {} where it has none."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def trained_meta(checkpoint: Mapping) -> dict:
    """Return the classes and palette that a checkpoint records, where they are such.

    mmdet and mmseg 2.x recorded them as CLASSES and PALETTE, beside the rest.
    """
    record = record_of(checkpoint)
    meta = record.get('dataset_meta') or record
    meta = meta if isinstance(meta, Mapping) else {}
    found = {}
    for key, are in dict(classes=_are_names, palette=_are_colours).items():
        value = meta.get(key, meta.get(key.upper()))
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if are(value):
            found[key] = value
    return found


def _are_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def _are_colours(value: object) -> bool:
    def is_colour(item: object) -> bool:
        numbers = item if isinstance(item, (list, tuple)) else ()
        return len(numbers) == 3 and all(isinstance(n, int) and 0 <= n <= 255 for n in numbers)

    return isinstance(value, (list, tuple)) and all(map(is_colour, value))


def _listing(classes: Iterable[str]) -> str:
    names = list(classes)
    more = ', ...' if len(names) > SHOWN else ''
    return f'{len(names)} classes ({", ".join(names[:SHOWN])}{more})'


def describe_model(model: Mapping) -> str:
    """Return what a model's config says it is, such as 'MaskRCNN with GLNet 4g'."""
    kind, backbone = str(model.get('type')), model.get('backbone')
    if not isinstance(backbone, Mapping) or not backbone.get('type'):
        return kind
    arch = backbone.get('arch')
    return f'{kind} with {backbone["type"]}' + (f' {arch}' if isinstance(arch, str) else '')


def describe_origin(checkpoint: Mapping) -> str:
    """Return what a checkpoint's own record says it is, or '' where it has none."""
    meta = record_of(checkpoint)
    model = model_settings(meta)
    if not model:
        return ''
    progress = f', epoch {meta.get("epoch")}, iteration {meta["iter"]}' if 'iter' in meta else ''
    return describe_model(model) + progress


def model_settings(meta: Mapping) -> dict:
    """Return the entry ``model`` of the config in a checkpoint's record."""
    found = settings_of(meta).get('model')
    return found if isinstance(found, dict) else {}


def settings_of(meta: Mapping) -> dict:
    """Return the config in a checkpoint's record; it is read, not run.

    What is not a literal in it becomes None.
    """
    try:
        return {
            ast.unparse(statement.targets[0]): _literal(statement.value)
            for statement in ast.parse(meta.get('cfg') or meta.get('config') or '').body
            if isinstance(statement, ast.Assign)
        }
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return {}


def _literal(node: ast.expr):
    """Return the value of a literal, or of ``dict(...)`` of literals; None for anything else."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None
