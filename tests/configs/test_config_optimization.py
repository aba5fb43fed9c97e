"""What the configs' optimizers and schedules come to, parameter by parameter, step by step."""

import math
import warnings

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
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
