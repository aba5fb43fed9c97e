"""The models that the benchmark compares: this package's by name, others by type or config."""

import ast
import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from .. import models
from ..config.load_config import load_config
from ..errors import UserError
from ..utils.messages import one_line
from ..utils.registry_errors import config_mistakes

FAMILIES = {name.lower(): name for name in models.__all__}
# Backbones of four outputs. No drop path, as GLNet has none by default either; the rest are the
# types' defaults (mmdet's ResNet keeps its batch norms' statistics in training).
SHORT_NAMES = {
    'swin_t': dict(
        type='mmdet.SwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.0,
    ),
    'convnext_t': dict(
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        drop_path_rate=0.0,
    ),
    'pvtv2_b2': dict(
        type='mmdet.PyramidVisionTransformerV2',
        embed_dims=64,
        num_layers=(3, 4, 6, 3),
        drop_path_rate=0.0,
    ),
    'resnet50': dict(type='mmdet.ResNet', depth=50, out_indices=(0, 1, 2, 3)),
}
PACKAGES = ('mmdet', 'mmseg', 'mmpretrain')
BACKBONE = ':backbone'


def load_models(names: Sequence[str]) -> dict[str, nn.Module]:
    """Build models with their initial weights; see :func:`load_model`.

    Returns:
        The models by what tables call them: a config by its file's stem where that is unique.

    Raises:
        UserError: a name is given twice or is unknown.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f'{", ".join(twice)}: named more than once; name each model once')
    short = [_shortened(name) for name in names]
    labels = [s if short.count(s) == 1 else name for s, name in zip(short, names, strict=True)]
    return {label: load_model(name) for label, name in zip(labels, names, strict=True)}


def load_model(name: str) -> nn.Module:
    """Build one model with its initial weights; no checkpoint is loaded.

    Args:
        name: one of ``SHORT_NAMES``; a variant of this package, such as 'glnet_4g'; a registered
            type and its arguments, such as 'mmdet.ResNet(depth=101)'; or a config: its file,
            'mmdet::', 'mmseg::' or 'mmpretrain::' and its path in that package, or its name in
            this one. ':backbone' after a config means only its backbone.

    Raises:
        UserError: it is none of them, or cannot be built.
    """
    if name in SHORT_NAMES:
        return _build(SHORT_NAMES[name], name)
    family, _, arch = name.partition('_')
    if family in FAMILIES and arch and not name.endswith(BACKBONE):
        return _build(dict(type=FAMILIES[family], arch=arch), name)
    if name.endswith(')'):
        return _build(_call(name), name)
    return _build_config(name)


def _shortened(name: str) -> str:
    path = name.removesuffix(BACKBONE)
    if name in SHORT_NAMES or name.endswith(')') or not path.endswith('.py'):
        return name
    return Path(path).stem + name[len(path) :]


def _call(name: str) -> dict:
    """Return the settings that 'TYPE(key=value, ...)' states."""
    try:
        call = ast.parse(name, mode='eval').body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError('arguments need names')
        settings = {item.arg: ast.literal_eval(item.value) for item in call.keywords}
    except (SyntaxError, ValueError, TypeError) as error:
        raise UserError(
            f"{name}: expected a type and its arguments, such as 'mmdet.ResNet(depth=101)'; "
            f'{one_line(error)}'
        ) from error
    return dict(type=ast.unparse(call.func), **settings)


def _build_config(name: str) -> nn.Module:
    path = name.removesuffix(BACKBONE)
    config = _load(path, name)
    model = config.get('model', {})
    if path != name:
        model = model.get('backbone', {})
    if not model:
        wanted = 'model.backbone' if path != name else 'model'
        raise UserError(f'{name}: the config has no `{wanted}`, only {", ".join(sorted(config))}')
    return _build(model, name, config.get('default_scope'))


def _load(path: str, name: str) -> Config:
    package, found, _ = path.partition('::')
    if found and package in PACKAGES:
        try:
            return Config.fromstring(f'_base_ = {path!r}', '.py')
        except Exception as error:  # a config is code: anything can happen in it
            raise UserError(f'config {name}: {type(error).__name__}: {one_line(error)}') from error
    try:
        return load_config(path)
    except UserError as error:
        if re.fullmatch(r'\w+', name) is None:
            raise
        raise UserError(
            f'no such model: {name}; expected {", ".join(SHORT_NAMES)}, a variant such as '
            f'glnet_4g ({", ".join(FAMILIES)}), TYPE(key=value) or a config; {error}'
        ) from error


def _build(settings: Mapping, name: str, scope: str | None = None) -> nn.Module:
    with config_mistakes(name), DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(copy.deepcopy(settings))
