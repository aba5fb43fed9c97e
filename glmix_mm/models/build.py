"""Builds a config's model, and checks that its parts fit together."""

import copy

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..errors import UserError
from ..utils.registry_errors import config_mistakes
from .backbone import PyramidBackbone


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
            f'{kind.__name__}; set model.pretrained=None (its own weights belong in '
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
