"""Multi-scale dilated attention against the unfolding implementation: numbers and memory."""

import pytest
import torch
from plain_dilateformer import unfold_attention
from torch.utils.flop_counter import FlopCounterMode

from glmix_mm.models.dilateformer import DILATIONS, MultiScaleDilatedAttention
from glmix_mm.models.ops import dilated_attention as module
from glmix_mm.models.ops.dilated_attention import dilated_attention
from glmix_mm.profiling.memory import peak_bytes


def unfolded(qkv, head_dim, dilations):
    """The reference in the same layout, (N, h, w, 3C) to (N, h, w, C)."""
    heads = qkv.shape[3] // 3 // head_dim
    return unfold_attention(qkv.permute(0, 3, 1, 2), heads, dilations).permute(0, 2, 3, 1)


def both(shape, head_dim, dilations, dtype=torch.float64):
    """Return values and gradients of the operator and of the reference in float64."""
    generator = torch.Generator().manual_seed(sum(shape))
    qkv = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(*shape[:3], shape[3] // 3, generator=generator, dtype=torch.float64)
    results = []
    for attend, x in ((dilated_attention, qkv), (unfolded, qkv.double())):
        x = x.clone().requires_grad_()
        out = attend(x, head_dim, dilations)
        (grad,) = torch.autograd.grad(out, x, weight.to(out.dtype))
        results += [out.detach(), grad]
    return results


@pytest.mark.parametrize(
    'size', [(1, 1), (1, 2), (2, 3), (4, 4), (3, 17), (17, 3), (8, 12), (13, 25), (30, 31)], ids=str
)
@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('heads', [3, 6])
def test_equals_unfolding(size, batch, heads):
    out, grad, expected, expected_grad = both((batch, *size, 3 * heads * 4), 4, (1, 2, 3))
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dilations', [(1,), (2,), (1, 4), (5, 2, 1), (7, 7)], ids=str)
def test_other_dilations(dilations):
    channels = 3 * 2 * 8 * len(dilations)
    out, grad, expected, expected_grad = both((2, 11, 14, channels), 8, dilations)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('budget', [1, 2000, 2**30])
def test_strips_change_nothing(budget, monkeypatch):
    monkeypatch.setattr(module, 'WEIGHTS_AT_A_TIME', {'cpu': budget})
    out, grad, expected, expected_grad = both((2, 29, 23, 72), 8, (1, 2, 3))
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(('dtype', 'eps'), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_sums_in_float32(dtype, eps):
    out, grad, expected, expected_grad = both((1, 20, 28, 216), 24, (1, 2, 3), dtype)
    assert out.dtype == grad.dtype == dtype
    # One rounding of the result; keys' and values' gradients, a sum over strips, see a few.
    assert ((out.double() - expected).abs() <= eps * expected.abs() + 1e-4).all()
    assert (grad.double() - expected_grad).norm() < 2 * eps * expected_grad.norm()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_autocast_changes_nothing(dtype):
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(1, 20, 28, 216, generator=generator).to(dtype).requires_grad_()
    out = dilated_attention(qkv, 24, (1, 2, 3))
    (grad,) = torch.autograd.grad(out.float().square().sum(), qkv)
    with torch.autocast('cpu', torch.bfloat16 if dtype == torch.float32 else dtype):
        mixed = dilated_attention(qkv, 24, (1, 2, 3))
        (mixed_grad,) = torch.autograd.grad(mixed.float().square().sum(), qkv)
    assert torch.equal(out, mixed) and torch.equal(grad, mixed_grad)


def test_large_values_stay_finite_in_float16():
    with torch.autocast('cpu', torch.float16):
        out = dilated_attention(torch.full((1, 8, 8, 216), 130.0).half(), 24, (1, 2, 3))
    assert torch.isfinite(out).all()


def test_zero_padding_stays_in_the_softmax():
    # A lone position: eight zero keys with logit 0, and its own with logit 2 * 2 / sqrt(1).
    qkv = torch.full((1, 1, 1, 3), 2.0, dtype=torch.float64)
    weight = torch.tensor(4.0, dtype=torch.float64).exp()
    expected = 2 * weight / (weight + 8)
    torch.testing.assert_close(dilated_attention(qkv, 1, (1,)).squeeze(), expected)


def test_operator_is_sound():
    x = torch.randn(1, 5, 6, 18, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(dilated_attention, (x, 2, (1, 2, 3)))
    assert torch.autograd.gradcheck(lambda x: dilated_attention(x, 2, (1, 2, 3)), (x,))


def test_operations_are_those_of_nine_neighbours():
    x = torch.randn(2, 10, 14, 216, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        out = dilated_attention(x, 24, (1, 2, 3))
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    products = 9 * 72 * (2 * 10 * 14)  # multiply-adds of logits, and of weighted values
    assert forward.get_total_flops() == 2 * 2 * products
    assert backward.get_total_flops() == 5 * 2 * products


def test_only_queries_keys_and_values_are_kept():
    attention = MultiScaleDilatedAttention(72, 24)
    x = torch.randn(1, 72, 40, 56).contiguous(memory_format=torch.channels_last)
    kept = []
    pack = lambda t: kept.append(t.numel()) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        attention(x)
    # The input of qkv, qkv, the input of proj: 1 + 3 + 1 maps; and the weights.
    assert sum(n for n in kept if n >= 72 * 40 * 56) == 5 * 72 * 40 * 56


def test_peak_memory_is_a_third_of_unfolding():
    """Stage 1 of DilateFormer-Tiny at 800 x 1280: 72 channels, 3 heads, 200 x 320."""
    attention = MultiScaleDilatedAttention(72, 24)
    x = torch.randn(1, 72, 200, 320).contiguous(memory_format=torch.channels_last)

    def plain(x):
        qkv = attention.qkv(x.permute(0, 2, 3, 1))
        return attention.proj(unfolded(qkv, 24, DILATIONS))

    def peak(attend):
        x_ = x.clone().requires_grad_()
        return peak_bytes(lambda: attend(x_).sum().backward())

    assert peak(attention) < peak(plain) / 3
