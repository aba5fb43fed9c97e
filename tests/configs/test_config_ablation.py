"""The ablation configs: each differs from GLNet-STL in what its name says, builds and trains."""

import ast

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from shipped_configs import ABLATION, CONFIGS

from glmix_mm.models.glnet import ARCHS, glnet_settings
from glmix_mm.profiling.ablate import BASE, PUBLISHED, STUDIES

# What each differs in from GLNet-STL.
DIFFERENCES = {
    'local_only': dict(branches='local'),
    'global_only': dict(branches='global'),
    'kmeans': dict(clustering='kmeans'),
    'static_slots': dict(clustering='static', slot_init='param'),
    'kernel3': dict(local_kernel_size=3),
    'kernel7': dict(local_kernel_size=7),
    'slots16': dict(slot_grid=(4, 4)),
    'slots49': dict(slot_grid=(7, 7)),
    'slots100': dict(slot_grid=(10, 10)),
    'no_slot_attention': dict(slot_attention=False),
    'step1_ovlp': dict(patch_embed='ovlp'),
    'step2_hybrid': dict(mixers=('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw')),
    'step3_cpe': dict(cpe_ks=3),
    'step4_mlp_dw': dict(mlp_dw=True),
}
STEPS = [name for name in DIFFERENCES if name.startswith('step')]
TINY = dict(channels=(32, 32, 64, 64), depths=(1, 1, 2, 1))


def short(name):
    return name.removeprefix('ablation/glnet_stl_').removesuffix('.py')


def expected(name):
    """Return what the config's backbone differs in, steps building on those before them."""
    own = short(name)
    names = STEPS[: STEPS.index(own) + 1] if own in STEPS else [own]
    return {key: value for each in names for key, value in DIFFERENCES[each].items()}


def test_each_is_there_and_in_the_table():
    assert [short(name) for name in ABLATION] == sorted(DIFFERENCES)
    compared = {name for study in STUDIES.values() for name in study.values()}
    assert {f'{name}.py' for name in compared if name.startswith('ablation/')} == set(ABLATION)
    assert all((CONFIGS / f'{name}.py').is_file() for name in compared)
    assert set(PUBLISHED) <= compared
    for study in STUDIES.values():
        assert BASE in study.values()


@pytest.mark.parametrize('name', ABLATION)
def test_header_and_form(name):
    lines = (CONFIGS / name).read_text().splitlines()
    assert len(lines) < 12
    assert lines[0].startswith(
        '# From GLNet-STL to 4G on ImageNet-1K, step '
        if short(name) in STEPS
        else '# Ablation of GLNet-STL on ImageNet-1K: '
    )
    assert lines[1] == '# The settings are those of the authors for GLNet-STL.'
    assert f'# Train it: glmix train {name.removesuffix(".py")} --gpus 8' in lines
    assigned = [node.targets[0].id for node in ast.parse('\n'.join(lines)).body]
    assert assigned == ['_base_', 'model']


@pytest.mark.parametrize('name', ABLATION)
def test_differs_from_stl_in_what_it_says(load, name):
    cfg, base = load(name), load('imagenet/glnet_stl.py')
    backbone = dict(cfg.model.backbone)
    found = glnet_settings(backbone.pop('arch'))
    changed = {
        key: getattr(found, key)
        for key in vars(found)
        if getattr(found, key) != getattr(ARCHS['stl'], key)
    }
    grid = backbone.pop('slot_grid', None)
    assert changed | (dict(slot_grid=grid) if grid else {}) == expected(name)
    cfg.model.backbone = dict(backbone, arch='stl')
    assert cfg.to_dict() == base.to_dict()


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
