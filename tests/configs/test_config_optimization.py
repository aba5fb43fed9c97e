"""What the configs' optimizers and schedules come to, parameter by parameter, step by step."""

import math
import warnings

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from shipped_configs import parts
from torch import nn

ITERATIONS_PER_EPOCH = 600  # any number above the 500 of the warmup


def learning_rates(cfg, iterations: int) -> list[float]:
    """Return the learning rate of each iteration, stepped as mmengine's hook steps it."""
    options = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, options.pop('type'))([nn.Parameter(torch.zeros(1))], **options)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(settings, optimizer=optimizer))
        for settings in cfg.param_scheduler
    ]
    every_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    every_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    rates = []
    for iteration in range(1, iterations + 1):
        rates.append(optimizer.param_groups[0]['lr'])
        epoch_ends = iteration % ITERATIONS_PER_EPOCH == 0
        for scheduler in every_iteration + (every_epoch if epoch_ends else []):
            scheduler.step()
    return rates


@pytest.fixture(autouse=True)
def _quiet():
    # Schedulers are stepped here without their optimizer, which torch warns of.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        yield


@pytest.mark.parametrize(
    ('name', 'base', 'epochs', 'steps'),
    [
        ('maskrcnn_glnet_4g_1x.py', 1e-4, 12, (8, 11)),
        ('maskrcnn_glnet_4g_3x.py', 1e-4, 36, (27, 33)),
        ('retinanet_glnet_4g_1x.py', 1e-4, 12, (8, 11)),
        ('retinanet_glnet_4g_3x.py', 1e-4, 36, (27, 33)),
        ('dilateformer/cascademaskrcnn_dilateformer_tiny_3x.py', 1e-4, 36, (27, 33)),
        ('fcvit/maskrcnn_fcvit_b12_1x.py', 2e-4, 12, (8, 11)),
    ],
)
def test_detection_learning_rates(load, name, base, epochs, steps):
    rates = learning_rates(load(name), epochs * ITERATIONS_PER_EPOCH)
    expected = []
    for iteration in range(len(rates)):
        warmup = min(1.0, 0.001 + 0.999 * iteration / 499)
        drops = sum(iteration >= step * ITERATIONS_PER_EPOCH for step in steps)
        expected.append(base * warmup * 0.1**drops)
    assert rates == pytest.approx(expected, rel=1e-9)
    assert rates[0] == pytest.approx(base / 1000)
    assert rates[-1] == pytest.approx(base / 100)


def test_semantic_fpn_learning_rates(load):
    rates = learning_rates(load('semfpn_glnet_4g_80k.py'), 80_000)
    for iteration in (0, 1, 500, 999):
        assert rates[iteration] == pytest.approx(2e-4 * (0.1 + 0.9 * iteration / 999), rel=1e-9)
    for iteration in (1000, 1001, 10_000, 40_500, 79_000):
        cosine = (1 + math.cos(math.pi * (iteration - 1000) / 79_000)) / 2
        assert rates[iteration] == pytest.approx(2e-4 * (1e-8 + (1 - 1e-8) * cosine), rel=1e-6)
    # One step before the end the cosine stands (pi / 79,000)^2 / 4 above its end.
    assert rates[-1] == pytest.approx(2e-4 * (1e-8 + (math.pi / 79_000) ** 2 / 4), rel=1e-3)


def test_semantic_fpn_learning_rates_of_fcvit(load):
    rates = learning_rates(load('fcvit/semfpn_fcvit_b12_40k.py'), 40_000)
    for iteration in (0, 1, 500, 1500, 20_000, 39_998):
        left = 1 - iteration / 39_999
        assert rates[iteration] == pytest.approx(2e-4 * left**0.9, rel=1e-6)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_upernet_learning_rates(load):
    rates = learning_rates(load('upernet_glnet_4g_160k.py'), 160_000)
    for iteration in (0, 1, 700, 1499):
        warmup = 1e-6 + (1 - 1e-6) * iteration / 1499
        assert rates[iteration] == pytest.approx(6e-5 * warmup, rel=1e-9)
    for iteration in (1500, 1501, 80_000, 159_998):
        left = 1 - (iteration - 1500) / 158_499
        assert rates[iteration] == pytest.approx(6e-5 * left, rel=1e-6)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


# Norms of the tiny backbones besides those of the outputs. GLNet: 5 batch norms of the embeddings
# (2 in the stem) and 2 layer norms in each of 5 blocks; DilateFormer: 6 (3 in the stem) and 2 in
# each of 4 blocks; FCViT: 4 and 2 group norms in each of 4 blocks.
NORMS = {'glnet': 5 + 2 * 5, 'dilateformer': 6 + 2 * 4, 'fcvit': 4 + 2 * 4}
# Scales and shifts that are no norms: they decay as the rest does. GLNet's scales of the slots'
# similarities (3 GLMix blocks in nano); FCViT's 2 layer scales and 2 x 2 rescalings of a block.
SCALES = ('slot_scale', 'gamma', 'rescale_weight', 'rescale_bias')
SCALES_COUNT = {'glnet': 3, 'dilateformer': 0, 'fcvit': 4 * (2 + 4)}


@pytest.mark.parametrize(
    ('name', 'decay', 'norm_decay'),
    [
        ('maskrcnn_glnet_4g_3x.py', 0.05, 0.0),
        ('retinanet_glnet_4g_1x.py', 1e-4, 1e-4),
        ('semfpn_glnet_4g_80k.py', 1e-4, 1e-4),
        ('upernet_glnet_4g_160k.py', 0.01, 0.0),
        ('dilateformer/cascademaskrcnn_dilateformer_tiny_3x.py', 0.05, 0.0),
        ('dilateformer/upernet_dilateformer_tiny_160k.py', 0.01, 0.0),
        ('fcvit/maskrcnn_fcvit_b12_1x.py', 1e-4, 1e-4),
        ('fcvit/semfpn_fcvit_b12_40k.py', 1e-4, 1e-4),
        ('fcvit/upernet_fcvit_b24_160k.py', 0.01, 0.0),
    ],
)
def test_weight_decay_of_each_parameter(nano, name, decay, norm_decay):
    cfg = nano(name)
    method, family, _, _ = parts(name)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    found = {
        id(parameter): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    norms = {
        id(parameter)
        for module in model.modules()
        if 'Norm' in type(module).__name__
        for parameter in module.parameters(recurse=False)
    }
    expected = {
        id(parameter): norm_decay if id(parameter) in norms else decay
        for parameter in model.parameters()
    }
    assert found == expected
    scales = [p for key, p in model.backbone.named_parameters() if key.endswith(SCALES)]
    assert [found[id(scale)] for scale in scales] == [decay] * SCALES_COUNT[family]
    outputs = 3 if method == 'retinanet' else 4
    backbone = {id(parameter) for parameter in model.backbone.parameters()}
    assert len(norms & backbone) == 2 * (NORMS[family] + outputs)  # weight and bias of each
