"""The ablation configs: each is in a table of `glmix ablate`, builds and trains."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from shipped_configs import ABLATION, CONFIGS

from glmix_mm.profiling.ablate import BASE, PUBLISHED, STUDIES

TINY = dict(channels=(32, 32, 64, 64), depths=(1, 1, 2, 1))


def test_each_is_there_and_in_the_table():
    compared = {name for study in STUDIES.values() for name in study.values()}
    assert {f'{name}.py' for name in compared if name.startswith('ablation/')} == set(ABLATION)
    assert all((CONFIGS / f'{name}.py').is_file() for name in compared)
    assert set(PUBLISHED) <= compared
    for study in STUDIES.values():
        assert BASE in study.values()


@pytest.mark.parametrize('name', ABLATION)
def test_builds_and_trains_a_step_at_tiny_size(load, name):
    torch.manual_seed(0)
    cfg = load(name)
    arch = cfg.model.backbone.get('arch')
    arch = dict(base=arch) if isinstance(arch, str) else dict(arch)
    cfg.model.backbone.arch = dict(arch, **TINY)
    cfg.model.neck.in_channels = cfg.model.head.in_channels = TINY['channels'][-1]
    cfg.model.head.num_classes = 2
    cfg.model.train_cfg = None
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=dict(num_classes=2)))
        model.init_weights()
    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    losses = model(torch.randn(2, 3, 64, 64), samples, mode='loss')
    losses['loss'].backward()
    missing = [key for key, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert all(p.grad.isfinite().all() for p in model.parameters())
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(p.isfinite().all() for p in model.parameters())
