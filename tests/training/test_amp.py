"""The optimizer wrapper for any device against mmengine's plain one and against sums by hand."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from glmix_mm.errors import UserError
from glmix_mm.training import amp
from glmix_mm.training.amp import AutoAmpOptimWrapper
from glmix_mm.utils import devices


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(amp, 'get_device', lambda: 'cpu')


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4))


def make_data(count=24):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 8, 16, generator=generator), torch.randn(
        count, 8, 4, generator=generator
    )


def train(model, wrapper, inputs, targets):
    losses = []
    for x, y in zip(inputs, targets, strict=True):
        with wrapper.optim_context(model):
            loss = nn.functional.mse_loss(model(x).float(), y)
        wrapper.update_params(loss)
        losses.append(loss.item())
    return losses


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


@pytest.mark.parametrize('clip', [None, dict(max_norm=0.1), dict(type='value', clip_value=0.01)])
@pytest.mark.parametrize('accumulate', [1, 3])
def test_float32_on_the_cpu_equals_the_plain_wrapper(clip, accumulate):
    inputs, targets = make_data()
    states = []
    for wrapper_class in (OptimWrapper, AutoAmpOptimWrapper):
        model = make_model()
        wrapper = wrapper_class(
            optimizer=adamw(model),
            accumulative_counts=accumulate,
            clip_grad=copy.deepcopy(clip),
        )
        train(model, wrapper, inputs, targets)
        states.append(model.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_lower_precision_stays_close_to_float32(dtype):
    inputs, targets = make_data()
    curves = []
    for name in ('float32', dtype):
        model = make_model()
        wrapper = AutoAmpOptimWrapper(dtype=name, optimizer=adamw(model))
        curves.append(torch.tensor(train(model, wrapper, inputs, targets)))
        assert all(p.dtype == torch.float32 for p in model.parameters())
    difference = (curves[0] - curves[1]).abs().max()
    # The products have 8 or 11 bits; the losses are about 1.
    assert 0 < difference < (0.02 if dtype == 'bfloat16' else 0.003)


def test_the_forward_pass_computes_in_the_lower_precision():
    model = make_model()
    wrapper = AutoAmpOptimWrapper(dtype='bfloat16', optimizer=sgd(model))
    with wrapper.optim_context(model):
        assert model(torch.randn(2, 16)).dtype == torch.bfloat16
    assert model(torch.randn(2, 16)).dtype == torch.float32


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_accumulated_gradients_equal_those_of_the_big_batch(dtype):
    inputs, targets = make_data(8)
    small, big = make_model(), make_model()
    wrapper = AutoAmpOptimWrapper(dtype=dtype, optimizer=sgd(small), accumulative_counts=4)
    train(small, wrapper, inputs, targets)
    # By hand: plain SGD on the mean over batches of four times the size.
    for batch in range(2):
        x, y = inputs[4 * batch : 4 * batch + 4], targets[4 * batch : 4 * batch + 4]
        loss = nn.functional.mse_loss(big(x.flatten(0, 1)), y.flatten(0, 1))
        gradients = torch.autograd.grad(loss, list(big.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(big.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    tolerance = 1e-6 if dtype == 'float32' else 1e-3
    for mine, expected in zip(small.parameters(), big.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize('scale', [1024, 1024.0])
def test_clipping_sees_the_unscaled_gradients(scale):
    inputs, targets = make_data(1)
    model = make_model()
    before = [p.detach().clone() for p in model.parameters()]
    wrapper = AutoAmpOptimWrapper(
        dtype='float16',
        loss_scale=scale,
        optimizer=sgd(model, lr=1.0),
        clip_grad=dict(max_norm=0.05),
    )
    train(model, wrapper, inputs, targets)
    assert wrapper.loss_scaler.get_scale() == 1024
    step = torch.cat(
        [(p - b).flatten() for p, b in zip(model.parameters(), before, strict=True)]
    ).norm()
    assert step.item() == pytest.approx(0.05, rel=1e-3)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    inputs, targets = make_data(1)
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    wrapper = AutoAmpOptimWrapper(
        dtype='float16', loss_scale=dict(init_scale=2.0**40), optimizer=sgd(model)
    )
    train(model, wrapper, inputs, targets)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert wrapper.loss_scaler.get_scale() == 2.0**39


def test_resuming_goes_on_as_if_never_stopped():
    inputs, targets = make_data()
    scale = dict(init_scale=2.0**10, growth_interval=5)
    whole = make_model()
    wrapper = AutoAmpOptimWrapper(dtype='float16', loss_scale=scale, optimizer=adamw(whole))
    train(whole, wrapper, inputs, targets)

    first = make_model()
    half = AutoAmpOptimWrapper(dtype='float16', loss_scale=scale, optimizer=adamw(first))
    train(first, half, inputs[:12], targets[:12])
    saved = copy.deepcopy(half.state_dict())
    second = make_model()
    second.load_state_dict(first.state_dict())
    resumed = AutoAmpOptimWrapper(dtype='float16', loss_scale=scale, optimizer=adamw(second))
    resumed.load_state_dict(saved)
    assert resumed.loss_scaler.get_scale() == 2.0**12  # doubled after 5 and after 10 steps
    assert 'loss_scaler' in saved  # the caller's dict stays whole
    train(second, resumed, inputs[12:], targets[12:])
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize('saved_in', ['float16', 'bfloat16', 'plain'])
@pytest.mark.parametrize('resumed_in', ['float16', 'bfloat16', 'plain'])
def test_states_of_any_precision_resume_in_any_other(saved_in, resumed_in):
    inputs, targets = make_data(4)

    def make(kind, model):
        if kind == 'plain':
            return OptimWrapper(optimizer=adamw(model))
        return AutoAmpOptimWrapper(dtype=kind, optimizer=adamw(model))

    model = make_model()
    saver = make(saved_in, model)
    train(model, saver, inputs, targets)
    state = saver.state_dict()
    assert ('loss_scaler' in state) == (saved_in == 'float16')
    other = make(resumed_in, make_model())
    other.load_state_dict(state)
    steps = {entry['step'].item() for entry in other.optimizer.state_dict()['state'].values()}
    assert steps == {4.0}


def test_an_empty_scaler_state_as_mmengine_saves_in_bfloat16():
    wrapper = AutoAmpOptimWrapper(dtype='float16', optimizer=sgd(make_model()))
    wrapper.load_state_dict({**sgd(make_model()).state_dict(), 'loss_scaler': {}})
    assert wrapper.loss_scaler.get_scale() == 2.0**16


def test_the_default_on_the_cpu_is_float32():
    wrapper = OPTIM_WRAPPERS.build(dict(type='AutoAmpOptimWrapper', optimizer=sgd(make_model())))
    assert wrapper.cast_dtype == torch.float32
    assert not wrapper.loss_scaler.is_enabled()


@pytest.mark.parametrize(('native', 'expected'), [(True, torch.bfloat16), (False, torch.float16)])
def test_the_best_type_on_cuda(monkeypatch, native, expected):
    def is_supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', is_supported)
    assert devices.best_dtype('cuda') == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_training_on_cuda_lowers_the_loss(monkeypatch):
    monkeypatch.setattr(amp, 'get_device', lambda: 'cuda')
    inputs, targets = make_data()
    inputs, targets = inputs[:1].repeat(40, 1, 1).cuda(), targets[:1].repeat(40, 1, 1).cuda()
    model = make_model().cuda()
    wrapper = AutoAmpOptimWrapper(optimizer=adamw(model))
    assert wrapper.cast_dtype in (torch.bfloat16, torch.float16)
    losses = train(model, wrapper, inputs, targets)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize('wrong', [dict(dtype='float8'), dict(loss_scale='big')])
def test_unknown_options_are_named(wrong):
    with pytest.raises(UserError, match=r'float8|big'):
        AutoAmpOptimWrapper(optimizer=sgd(make_model()), **wrong)
