from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache

import mmengine.config.utils
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from shipped_configs import CONFIGS, TINY_ARCHS, parts

import glmix_mm  # noqa: F401  (mmdet and mmseg need the platform it readies)


@pytest.fixture(scope='session')
def load() -> Iterator[Callable[[str], Config]]:
    """Resolve a config by its name; each call returns a copy of its own."""
    read_yaml = mmengine.config.utils.load
    # mmengine reads all of mmdet's 90 metafiles again for each `mmdet::` base.
    mmengine.config.utils.load = lru_cache(maxsize=None)(read_yaml)
    resolve = lru_cache(maxsize=None)(lambda name: Config.fromfile(CONFIGS / name))
    yield lambda name: deepcopy(resolve(name))
    mmengine.config.utils.load = read_yaml


@pytest.fixture(scope='session')
def nano(load) -> Callable[[str], Config]:
    """Resolve a config with a tiny backbone of the same family and random weights."""

    def shrink(name: str) -> Config:
        cfg = load(name)
        model = cfg.model
        model.backbone.update(arch=TINY_ARCHS[parts(name).family], init_cfg=None)
        channels = list(MODELS.build(model.backbone).out_channels)
        if 'neck' in model:
            model.neck.in_channels = channels
        elif 'panoptic_head' in model:
            model.panoptic_head.in_channels = channels
        else:
            model.decode_head.in_channels = channels
            model.auxiliary_head.in_channels = channels[2]
        return cfg

    return shrink
