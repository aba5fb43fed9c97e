"""Zeros, constants and large numbers, in every precision, and steps at the recipes' rates."""

import numerical_safety
import pytest
import torch
from families import FIRST, SMALL, build_small
from torch.nn import functional as F

from glmix_mm.models.glmix import GLMix, kmeans

SIZE = 64  # px
INPUTS = {
    'zero': lambda: torch.zeros(2, 3, SIZE, SIZE),
    'constant': lambda: torch.full((2, 3, SIZE, SIZE), 0.7),
    '1e4': lambda: torch.full((2, 3, SIZE, SIZE), 1e4),
    'noise of 1e4': lambda: torch.randn(2, 3, SIZE, SIZE) * 1e4,
    'half zero': lambda: torch.randn(2, 3, SIZE, SIZE) * (torch.arange(SIZE) < SIZE // 2),
}
DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
dtypes = pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('given', INPUTS)
@pytest.mark.parametrize(('name', 'kind'), SMALL, ids=lambda value: value)
@dtypes
def test_maps_and_gradients_stay_finite(name, kind, given, dtype, device):
    torch.manual_seed(0)
    model = build_small(name, kind).to(device)
    x = INPUTS[given]().to(device)
    # On a GPU float16 is trained with; on the CPU it is not, so only its maps are looked at.
    backward = dtype != torch.float16 or device == 'cuda'
    for training in (True, False):
        model.train(training)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            maps = model(x)
        assert all(level.isfinite().all() for level in maps)
        if not (backward and training):
            continue
        weights = [torch.randn_like(level.float()) for level in maps]
        loss = sum((level.float() * w).mean() for level, w in zip(maps, weights, strict=True))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)


@dtypes
@pytest.mark.parametrize('zero', ['tokens', 'slots', 'both', 'one token'])
def test_cosine_similarity_with_zero_vectors(dtype, zero):
    torch.manual_seed(0)
    mixer = GLMix(32, slot_grid=(2, 2)).to(dtype)
    tokens = torch.randn(2, 9, 32, dtype=dtype)
    slots = torch.randn(2, 4, 32, dtype=dtype)
    if zero in ('tokens', 'both'):
        tokens = tokens * 0
    if zero in ('slots', 'both'):
        slots = slots * 0
    if zero == 'one token':
        tokens[0, 0] = 0
    tokens.requires_grad_()
    slots.requires_grad_()
    logits = mixer.slot_logits(tokens, slots)
    reference = F.cosine_similarity(tokens[:, :, None].double(), slots[:, None].double(), dim=3)
    torch.testing.assert_close(
        logits.double(), reference * mixer.slot_scale.item(), rtol=0.02, atol=1e-3
    )
    (logits * torch.randn_like(logits)).sum().backward()
    assert not tokens.grad.isnan().any() and not slots.grad.isnan().any()
    assert not mixer.slot_scale.grad.isnan().any()


@dtypes
@pytest.mark.parametrize('clustering', ['soft', 'kmeans'])
def test_a_mixer_of_zeros(dtype, clustering):
    torch.manual_seed(0)
    mixer = GLMix(32, slot_grid=(2, 2), clustering=clustering).to(dtype)
    x = torch.zeros(1, 32, 6, 6, dtype=dtype, requires_grad=True)
    out = mixer(x, x)
    out.float().square().sum().backward()
    assert out.isfinite().all() and not x.grad.isnan().any()


@dtypes
def test_kmeans_of_a_zero_slot(dtype):
    """A zero slot is like no token, so it attracts none where others are alike."""
    torch.manual_seed(0)
    tokens = torch.rand(1, 20, 8).to(dtype) + 0.1
    slots = torch.cat([torch.zeros(1, 1, 8), torch.rand(1, 3, 8) + 0.1], 1).to(dtype)
    means, assignment = kmeans(tokens, slots)
    assert assignment.sum(1)[0, 0] == 0 and not means.isnan().any()


@pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
def test_a_few_bfloat16_steps_at_the_recipe_s_rate(name, kind):
    losses = numerical_safety.train(name, kind, steps=4, dtype='bfloat16', size=32)
    assert all(torch.tensor(losses).isfinite())
