"""The ImageNet configs: which there are, whose settings, and what their schedules come to."""

import pytest
import torch
from mmcv.transforms import Compose
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    HOOKS,
    MODELS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    DefaultScope,
)
from mmpretrain.registry import BATCH_AUGMENTS
from mmpretrain.structures import DataSample
from shipped_configs import CONFIGS, IMAGENET, TYPES

from glmix_mm.checkpoints.released_weights import RELEASES
from glmix_mm.errors import UserError
from glmix_mm.models.evaluation import EVALUATIONS, evaluation_pipeline
from glmix_mm.training.amp import AutoAmpOptimWrapper

GPUS = 8
# From the authors' settings.
DROP_PATH = {
    'glnet': {'stl': 0.1, 'stl_paramslot': 0.1, '4g': 0.15, '9g': 0.3, '16g': 0.4},
    'dilateformer': {'tiny': 0.1, 'small': 0.1, 'base': 0.1},
    'fcvit': {'tiny': 0.1, 'b12': 0.1, 'b24': 0.1, 'b48': 0.2},
}
# The short side that a test image is resized to, px: 224 by the authors' crop, rounded down.
SHORT_SIDES = {'glnet': 256, 'tklb': 233, 'dilateformer': 256}
SHORT_SIDES |= {'fcvit_tiny': 248, 'fcvit_b12': 248, 'fcvit_b24': 235, 'fcvit_b48': 235}
# Tiny ones with every kind of parameter.
ARCHS = {
    'glnet': dict(
        channels=(32, 32, 64, 64),
        depths=(1, 1, 2, 1),
        ffn_ratio=2,
        mixers=('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw'),
        patch_embed='ovlp',
        cpe_ks=3,
        mlp_dw=True,
        layer_scale=1e-4,
    ),
    'fcvit': dict(channels=(16, 32, 64, 64), depths=(1, 1, 1, 1)),
}
TOKEN_LABELS = [name for name in IMAGENET if name.endswith('_tklb.py')]
PLAIN = [name for name in IMAGENET if name not in TOKEN_LABELS]
GLNET = [name for name in PLAIN if 'glnet' in name]
OTHERS = [name for name in PLAIN if name not in GLNET]
EPOCHS = {'fcvit': 310, 'dilateformer': 300, 'glnet': 300, 'tklb': 310}


def split_name(name):
    family, variant = name.removeprefix('imagenet/').removesuffix('.py').split('_', 1)
    return family, variant


def test_every_released_classifier_has_a_config():
    assert {'_'.join(split_name(name)) for name in IMAGENET} == set(RELEASES)


@pytest.mark.parametrize('name', IMAGENET)
def test_header_says_whose_settings_and_how_to_run(name):
    lines = (CONFIGS / name).read_text().splitlines()
    assert len(lines) < 25
    family, variant = split_name(name)
    assert lines[0].startswith(f'# {TYPES[family]}-')
    assert lines[1].startswith("# The authors' settings")
    name = name.removesuffix('.py')
    assert lines[2] == f'# Train it: glmix train {name} --gpus 8'
    assert lines[4] == f'#   glmix test {name} glmix://{family}_{variant}'


@pytest.mark.parametrize('name', PLAIN)
def test_model(load, name):
    cfg = load(name)
    family, variant = split_name(name)
    model = cfg.model
    assert cfg.default_scope == 'mmpretrain'
    assert (model.type, model.backbone.type, model.backbone.arch) == (
        'ImageClassifier',
        TYPES[family],
        variant,
    )
    assert 'init_cfg' not in model.backbone, 'trained from scratch'
    assert model.head.num_classes == cfg.data_preprocessor.num_classes == 1000
    assert model.head.loss.type == 'LabelSmoothLoss'
    assert model.head.loss.label_smooth_val == 0.1
    augments = {entry.type: entry.alpha for entry in model.train_cfg.augments}
    assert augments == {'Mixup': 0.8, 'CutMix': 1.0}


@pytest.mark.parametrize('name', GLNET)
def test_the_recipe_of_glnets_authors(load, name):
    cfg = load(name)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    loader = cfg.train_dataloader
    assert loader.batch_size * GPUS == cfg.auto_scale_lr.base_batch_size == 2048
    assert (loader.sampler.type, loader.sampler.shuffle) == ('RepeatAugSampler', True)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 2e-3, 0.05)
    (average,) = cfg.custom_hooks
    assert (average.type, average.momentum) == ('EMAHook', pytest.approx(1 - 0.9999))
    warmup, cosine = cfg.param_scheduler
    assert (warmup.type, warmup.end, warmup.by_epoch) == ('LinearLR', 5, True)
    assert (cosine.type, cosine.begin, cosine.eta_min) == ('CosineAnnealingLR', 5, 1e-5)


@pytest.mark.parametrize('name', OTHERS)
def test_the_recipes_of_dilateformers_and_fcvits_authors(load, name):
    """DilateFormer: dist_train.sh and main.py; FCViT: README and train.py."""
    cfg = load(name)
    dilate = split_name(name)[0] == 'dilateformer'
    loader = cfg.train_dataloader
    assert loader.batch_size * GPUS == cfg.auto_scale_lr.base_batch_size == 1024
    assert loader.sampler.type == ('RepeatAugSampler' if dilate else 'DefaultSampler')
    assert loader.sampler.shuffle
    assert 'clip_grad' not in cfg.optim_wrapper
    optimizer = cfg.optim_wrapper.optimizer
    rate = 2e-3 if dilate else 1e-3
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', rate, 0.05)
    averages = [hook.momentum for hook in cfg.get('custom_hooks') or []]
    assert averages == ([pytest.approx(1 - 0.99996)] if dilate else [])
    resizes = [
        step.interpolation
        for entry in loader.dataset.pipeline
        for step in (entry, *(choice[0] for choice in entry.get('transforms', ())))
        if step.type == 'RandomResizedCrop'
    ]
    assert resizes == (['bicubic'] if dilate else ['bilinear', 'bicubic'])


@pytest.mark.parametrize(
    ('name', 'warmup', 'lowest'),
    [('imagenet/dilateformer_tiny.py', 10, 1e-5), ('imagenet/fcvit_tiny.py', 5, 1e-6)],
)
def test_rates_are_those_of_timms_schedule(load, name, warmup, lowest):
    scheduler = pytest.importorskip('timm.scheduler')
    cfg = load(name)
    rate = cfg.optim_wrapper.optimizer.lr
    weights = [torch.nn.Parameter(torch.zeros(1))]
    own = torch.optim.AdamW(weights, lr=rate)
    theirs = scheduler.CosineLRScheduler(
        torch.optim.AdamW(weights, lr=rate),
        t_initial=300,
        lr_min=lowest,
        warmup_lr_init=1e-6,
        warmup_t=warmup,
    )
    schedulers = [
        PARAM_SCHEDULERS.build(dict(settings, optimizer=own)) for settings in cfg.param_scheduler
    ]
    for epoch in range(cfg.train_cfg.max_epochs):
        expected = theirs._get_lr(epoch)[0]
        # During the warmup the cosine, which is then above 0.997, multiplies here.
        assert own.param_groups[0]['lr'] == pytest.approx(expected, rel=3e-3, abs=1e-7), epoch
        own.step()
        for each in schedulers:
            each.step()


@pytest.mark.parametrize('name', TOKEN_LABELS)
def test_the_recipe_of_token_labeling(load, name):
    cfg = load(name)
    variant = split_name(name)[1].removesuffix('_tklb')
    model = cfg.model
    assert (model.type, model.backbone.type, model.backbone.arch) == (
        'TokenLabelClassifier',
        'GLNet',
        variant,
    )
    assert 'init_cfg' not in model.backbone, 'trained from scratch'
    assert model.backbone.drop_path_rate == 0.1
    assert (model.head.dense_weight, model.head.smoothing) == (0.5, 0.1)
    assert not model.train_cfg and not cfg.get('custom_hooks'), 'no mixup, no cutmix, no average'
    assert model.head.num_classes == cfg.data_preprocessor.num_classes == 1000
    loader = cfg.train_dataloader
    assert loader.batch_size * GPUS == cfg.auto_scale_lr.base_batch_size == 2048
    assert loader.sampler.type == 'DefaultSampler', 'no repeated augmentation'
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.weight_decay) == ('AdamW', 0.05)
    assert optimizer.lr == pytest.approx(5e-4 * 2048 / 512)
    warmup, cosine = cfg.param_scheduler
    assert optimizer.lr * warmup.start_factor == pytest.approx(1e-6)
    assert (warmup.end, cosine.begin, cosine.end, cosine.eta_min) == (5, 5, 300, 1e-5)
    assert [step.type for step in loader.dataset.pipeline] == [
        'LoadImageFromFile',
        'LoadTokenLabels',
        'FlipWithTokenLabels',
        'RandAugmentWithTokenLabels',
        'RandomChoice',
        'RandomErasing',
        'PackInputs',
    ]


@pytest.mark.parametrize('name', IMAGENET)
def test_images_and_schedule_of_all(load, name):
    cfg = load(name)
    token_labels = name in TOKEN_LABELS
    family, variant = split_name(name)
    kind = 'tklb' if token_labels else family
    assert (cfg.train_cfg.by_epoch, cfg.train_cfg.max_epochs) == (True, EPOCHS[kind])
    assert cfg.optim_wrapper.type == 'AutoAmpOptimWrapper'
    rate = 0.1 if token_labels else DROP_PATH[family][variant]
    assert cfg.model.backbone.drop_path_rate == rate
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.max_keep_ckpts, checkpoint.save_best) == (3, 'accuracy/top1')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        Compose(cfg.train_dataloader.dataset.pipeline)
    steps = {entry.type: entry for entry in cfg.train_dataloader.dataset.pipeline}
    augment = steps['RandAugmentWithTokenLabels' if token_labels else 'RandAugment']
    erasing = steps['RandomErasing']
    # timm's rand-m9-mstd0.5-inc1
    assert augment.policies == 'timm_increasing'
    assert (augment.magnitude_level, augment.magnitude_std) == (9, 0.5)
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        test = {entry.type: entry for entry in loader.dataset.pipeline}
        resize = test['ResizeEdge']
        assert test['CenterCrop'].crop_size == 224
        assert resize.scale == SHORT_SIDES.get(kind) or SHORT_SIDES[f'{family}_{variant}']
        assert (resize.edge, resize.backend) == ('short', 'pillow')
        evaluation = EVALUATIONS.get(f'{family}_{variant}') or EVALUATIONS[family]
        assert resize.scale == int(224 / evaluation.crop)
        assert resize.interpolation == evaluation.interpolation == 'bicubic'


def test_an_unknown_evaluation_is_an_error_that_lists_the_known():
    for options in (
        dict(name='swin_tiny'),
        dict(name='glnet_4g', crop=87.5),
        dict(name='glnet_4g', crop='0.9'),
        dict(name='fcvit_b12', interpolation='cubic'),
    ):
        with pytest.raises(UserError, match=r'dilateformer 0\.875 bicubic, .*fcvit_b24 0\.95'):
            evaluation_pipeline(**options)
    assert evaluation_pipeline('glnet_4g', 1.0, 'bilinear')[1]['scale'] == 224


@pytest.mark.parametrize('name', ['imagenet/glnet_4g.py', 'imagenet/fcvit_b12.py'])
def test_the_recipes_parts_are_the_libraries(load, name):
    cfg = load(name)
    parts = [
        (TRANSFORMS, cfg.train_dataloader.dataset.pipeline),
        (BATCH_AUGMENTS, cfg.model.train_cfg.augments),
        (DATA_SAMPLERS, [cfg.train_dataloader.sampler]),
        (HOOKS, cfg.get('custom_hooks') or []),
        (PARAM_SCHEDULERS, cfg.param_scheduler),
        (OPTIMIZERS, [cfg.optim_wrapper.optimizer]),
        (MODELS, [cfg.model.head, cfg.model.head.loss]),
    ]
    origins = {}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for root, entries in parts:
            with root.switch_scope_and_registry(None) as registry:
                for entry in entries:
                    origins[entry.type] = registry.get(entry.type).__module__.split('.')[0]
    assert set(origins.values()) <= {'mmcv', 'mmengine', 'mmpretrain', 'torch'}, origins
    assert issubclass(AutoAmpOptimWrapper, AmpOptimWrapper)  # clipping, accumulation, autocast


@pytest.mark.parametrize(
    'name', ['imagenet/glnet_16g.py', 'imagenet/glnet_4g_tklb.py', 'imagenet/fcvit_b12.py']
)
def test_nothing_but_matrices_and_kernels_decays(load, name):
    cfg = load(name)
    tiny = dict(type=cfg.model.backbone.type, arch=ARCHS[split_name(name)[0]])
    backbone = MODELS.build(dict(tiny, out_indices=(3,), output_norms=False))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        wrapper = build_optim_wrapper(backbone, cfg.optim_wrapper)
    decays = {
        id(parameter): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    for key, parameter in backbone.named_parameters():
        # `slot_scale` has no dimension: the authors' rule leaves out what has one, timm's what has
        # fewer than two.
        scalar = 0 if name in TOKEN_LABELS else 0.05
        expected = 0.05 if parameter.dim() > 1 else scalar if parameter.dim() == 0 else 0
        assert decays[id(parameter)] == expected, key


@pytest.mark.parametrize(
    'name', ['glnet_4g', 'glnet_stl_paramslot', 'dilateformer_tiny', 'fcvit_tiny']
)
def test_every_parameter_gets_a_gradient(load, name):
    cfg = load(f'imagenet/{name}.py')
    cfg.model.backbone.update(init_cfg=None, drop_path_rate=0.0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).train()
    samples = [DataSample().set_gt_label(label) for label in (3, 7)]
    total, _ = model.parse_losses(model.loss(torch.randn(2, 3, 64, 64), samples))
    total.backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]
