"""The configs of small public sets: trained from scratch, with classes that fit their heads."""

import pytest
from mmengine.dataset import Compose
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
from shipped_configs import NAMES
from torch import nn

from glmix_mm.utils.nested import heads_classes

SMALL = [name for name in NAMES if name.startswith(('bccd/', 'camvid/'))]
MILLIONS = {'nano': (0.5, 2), 'micro': (3, 5)}  # parameters of the backbones


@pytest.mark.parametrize('name', SMALL)
def test_small_and_from_scratch(load, name):
    cfg = load(name)
    backbone = MODELS.build(cfg.model.backbone)
    count = sum(each.numel() for each in backbone.parameters()) / 1e6
    low, high = MILLIONS[name.split('_')[2]]
    assert low < count < high
    assert 'init_cfg' not in cfg.model.backbone and not cfg.get('load_from')
    norms = [each for each in backbone.train().modules() if isinstance(each, nn.BatchNorm2d)]
    assert norms and all(norm.training for norm in norms)


@pytest.mark.parametrize('name', SMALL)
def test_hooks_are_in_the_library_of_the_config(load, name):
    cfg = load(name)
    average = next(hook for hook in cfg.custom_hooks if hook.type == 'EMAHook')
    with MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
        assert registry.get(average.ema_type)
    with HOOKS.switch_scope_and_registry(cfg.default_scope) as registry:
        assert all(registry.get(hook.type) for hook in cfg.custom_hooks)


@pytest.mark.parametrize('name', [name for name in SMALL if name.startswith('camvid/')])
def test_time_augmentation_is_built(load, name):
    cfg = load(name)
    with TRANSFORMS.switch_scope_and_registry(cfg.default_scope):
        (_, augmentation) = Compose(cfg.tta_pipeline).transforms
    assert len(augmentation.subroutines) == 6  # three scales, as they are and mirrored


@pytest.mark.parametrize('name', SMALL)
def test_heads_fit_the_classes(load, name):
    cfg = load(name)
    counts = dict(heads_classes(cfg.model, 'model'))
    classes = cfg.train_dataloader.dataset.metainfo.classes
    assert counts and set(counts.values()) == {len(classes)}
    assert cfg.val_dataloader.dataset.metainfo == cfg.train_dataloader.dataset.metainfo
