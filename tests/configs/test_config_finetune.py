"""The snippets for fine-tuning in configs of one's own: what they come to, by parameter."""

import re

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from shipped_configs import TINY_ARCHS
from torch import nn

from glmix_mm.compat.startup import config_root
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.models import GLNet

BASES = {
    'glnet': ('maskrcnn_glnet_4g_1x', 'upernet_glnet_4g_160k', 'glnet_4g'),
    'dilateformer': (
        'maskrcnn_dilateformer_tiny_1x',
        'upernet_dilateformer_tiny_160k',
        'dilateformer_tiny',
    ),
    'fcvit': ('maskrcnn_fcvit_b12_1x', 'upernet_fcvit_b24_160k', 'fcvit_b12'),
}
CASES = [(family, name) for family, names in BASES.items() for name in names]


@pytest.fixture
def own(load, tmp_path):
    """Resolve a config of one's own: a shipped one, a snippet and a line; tiny, untrained."""

    def write(family, name, snippet, line):
        path = tmp_path / 'own.py'
        bases = [f'glmix_mm::{name}', f'glmix_mm::_base_/finetune/{snippet}.py']
        path.write_text(f'_base_ = {bases}\n{line}\n')
        cfg = Config.fromfile(path)
        cfg.model.backbone.update(arch=TINY_ARCHS[family], init_cfg=None)
        channels = list(MODELS.build(cfg.model.backbone).out_channels)
        if cfg.default_scope == 'mmpretrain':
            cfg.model.neck.in_channels = cfg.model.head.in_channels = channels[-1]
        elif 'neck' in cfg.model:
            cfg.model.neck.in_channels = channels
        else:
            cfg.model.decode_head.in_channels = channels
            cfg.model.auxiliary_head.in_channels = channels[2]
        return cfg

    return write


def build(cfg):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        return model, build_optim_wrapper(model, cfg.optim_wrapper)


def groups_of(model, wrapper):
    """Return the optimizer's settings of each parameter, by its name."""
    groups = {
        id(parameter): group
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    return {key: groups[id(p)] for key, p in model.named_parameters() if id(p) in groups}


def depth_of(key, depths):
    """Return the layer of a parameter by its name and the blocks of each stage, counted by hand."""
    place = re.match(r'backbone\.stages\.(\d)\.(?:embed|blocks\.(\d+))\.', key)
    if not place:
        return sum(depths) + 1
    block = 0 if place[2] is None else int(place[2]) + 1
    return sum(depths[: int(place[1])]) + block


@pytest.mark.parametrize(('family', 'name'), CASES)
def test_learning_rates_decay_layer_by_layer(family, name, own):
    cfg = own(family, name, 'layer_decay', 'optim_wrapper = _base_.layer_decay')
    base, rate = cfg.optim_wrapper.optimizer.lr, cfg.layer_decay.paramwise_cfg.layer_decay_rate
    model, wrapper = build(cfg)
    assert type(wrapper).__name__ == cfg.optim_wrapper.type == 'AutoAmpOptimWrapper'
    groups = groups_of(model, wrapper)
    assert set(groups) == set(dict(model.named_parameters())), 'every parameter is trained'
    plain = load_config(name).optim_wrapper
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        recipe = groups_of(model, build_optim_wrapper(model, plain))
    decays = {key: group['weight_decay'] for key, group in groups.items()}
    assert decays == {key: group['weight_decay'] for key, group in recipe.items()}
    depths = (1, 1, 2, 1) if family == 'glnet' else (1, 1, 1, 1)  # blocks of the tiny backbone
    for key, group in groups.items():
        exponent = sum(depths) + 1 - depth_of(key, depths)
        assert group['lr'] == pytest.approx(base * rate**exponent), key
    outside = {group['lr'] for key, group in groups.items() if not key.startswith('backbone.')}
    assert outside == {base}


def test_layers_of_the_variants_and_of_fewer_outputs():
    backbone = GLNet('4g')  # 4 + 4 + 18 + 4 blocks
    assert backbone.get_layer_depth('stages.0.embed.0.weight') == (0, 32)
    assert backbone.get_layer_depth('backbone.stages.3.blocks.3.norm2.bias', 'backbone.') == (
        30,
        32,
    )
    assert backbone.get_layer_depth('backbone.stages.0.embed.0.weight') == (31, 32)
    assert backbone.get_layer_depth('norm1.weight') == (31, 32)
    fewer = GLNet('nano', out_indices=(0, 1))
    assert fewer.get_layer_depth('stages.1.blocks.0.norm1.weight') == (2, 4)


@pytest.mark.parametrize(
    ('paramwise', 'expected'),
    [
        (None, r'layer_decay_rate=None of LayerDecayConstructor'),
        (dict(layer_decay_rate=1.5), r'layer_decay_rate=1\.5'),
        (dict(layer_decay_rate=0.9, bias_lr_mult=2.0), 'bias_lr_mult'),
        (
            dict(layer_decay_rate=0.9, custom_keys=dict(neck=dict(lr_mult=0.1))),
            r'custom_keys\.neck .*layer_decay_rate',
        ),
    ],
)
def test_settings_that_do_not_go_with_it(paramwise, expected):
    settings = dict(
        constructor='LayerDecayConstructor',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        paramwise_cfg=paramwise,
    )
    with pytest.raises(UserError, match=expected):
        build_optim_wrapper(GLNet('nano'), settings)


def test_a_backbone_that_does_not_know_its_layers():
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 3, 1)
    settings = dict(
        constructor='LayerDecayConstructor',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        paramwise_cfg=dict(layer_decay_rate=0.9),
    )
    with pytest.raises(UserError, match=r'get_layer_depth.*Module'):
        build_optim_wrapper(model, settings)


@pytest.mark.parametrize(('family', 'name'), CASES[::4])
def test_frozen_stages(family, name, own):
    cfg = own(family, name, 'frozen', 'model = _base_.frozen')
    model, _ = build(cfg)
    frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
    outputs = ('norm0.', 'norm1.') if cfg.default_scope != 'mmpretrain' else ()
    expected = {
        f'backbone.{key}'
        for key, _ in model.backbone.named_parameters()
        if key.startswith(('stages.0.', 'stages.1.', *outputs))
    }
    assert frozen == expected and expected


@pytest.mark.parametrize('name', ['comment', 'detector', 'instances', 'segmentor'])
def test_the_recipe_for_small_sets(name, tmp_path):
    path = config_root() / '_base_/finetune/small.py'
    lines = [line[4:] for line in path.read_text().splitlines() if line.startswith('#   ')]
    (tmp_path / 'mine.py').write_text('\n'.join(lines))
    cfg = load_config(str(tmp_path / 'mine.py') if name == 'comment' else f'_base_/finetune/{name}')
    assert cfg.auto_scale_lr.base_batch_size == 4
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=200)
    assert [s.get('end') for s in cfg.param_scheduler] == [100, 2000]
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.train_dataloader.sampler == dict(type='InfiniteSampler', shuffle=True)
    assert cfg.default_hooks.checkpoint.interval == 200
    assert cfg.optim_wrapper.optimizer.lr == 5e-5 and cfg.model.backbone.arch == '4g'
