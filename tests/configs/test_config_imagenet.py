"""The ImageNet configs: which there are, whose settings, and what their schedules come to."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import (
    MODELS,
    PARAM_SCHEDULERS,
    DefaultScope,
)
from mmpretrain.structures import DataSample
from shipped_configs import IMAGENET

from glmix_mm.errors import UserError
from glmix_mm.models.evaluation import EVALUATIONS, evaluation_pipeline


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


@pytest.mark.parametrize('name', IMAGENET)
def test_images_are_tested_at_the_size_of_the_table_of_evaluations(load, name):
    variant = Path(name).stem
    evaluation = EVALUATIONS.get(variant) or EVALUATIONS[variant.split('_')[0]]
    (resize,) = (
        step for step in load(name).test_dataloader.dataset.pipeline if step.type == 'ResizeEdge'
    )
    assert (resize.scale, resize.interpolation) == (int(224 / evaluation.crop), 'bicubic')


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
