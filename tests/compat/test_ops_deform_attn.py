"""Multi-scale deformable attention against scalar loops, mmcv's torch code, finite differences."""

import math

import pytest
import torch
from served_ops import DEVICES, ops, use_served_ops
from torch.autograd import gradcheck

SIZES = [(5, 4), (3, 2)]
function = ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def shapes_and_starts(device='cpu'):
    return torch.tensor(SIZES, device=device), torch.tensor([0, 20], device=device)


def some_input(batch=2, queries=3, heads=2, channels=3, points=2):
    """Return value, locations (a few outside the map) and attention weights in float64."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(batch, 26, heads, channels, generator=generator, dtype=torch.float64)
    shape = (batch, queries, heads, len(SIZES), points)
    locations = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    weights = torch.rand(shape, generator=generator, dtype=torch.float64)
    return value, locations, weights


def attend(value, locations, weights):
    shapes, starts = shapes_and_starts(value.device)
    return function.apply(value, shapes, starts, locations, weights, 64)


def naive_attention(value, locations, weights):
    batch, queries, heads, levels, points = weights.shape
    output = torch.zeros(batch, queries, heads, value.shape[3], dtype=torch.float64)
    for n, q, m, level, p in torch.cartesian_prod(
        *map(torch.arange, (batch, queries, heads, levels, points))
    ).tolist():
        height, width = SIZES[level]
        x, y = locations[n, q, m, level, p].tolist()
        x, y = x * width - 0.5, y * height - 0.5
        top, left = math.floor(y), math.floor(x)
        for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= i < height and 0 <= j < width:
                share = (1 - abs(y - i)) * (1 - abs(x - j)) * weights[n, q, m, level, p]
                pixel = sum(h * w for h, w in SIZES[:level]) + i * width + j
                output[n, q, m] += share * value[n, pixel, m]
    return output.flatten(2)


@pytest.mark.parametrize('device', DEVICES)
def test_equals_loop(device):
    tensors = some_input(batch=3, queries=7)
    result = attend(*(t.to(device) for t in tensors)).cpu()
    torch.testing.assert_close(result, naive_attention(*tensors))
    assert result.is_contiguous()


def test_gradient():
    assert gradcheck(attend, [t.requires_grad_() for t in some_input()])


@pytest.mark.parametrize('device', DEVICES)
def test_equals_mmcvs_torch_code_in_other_layouts(device):
    """Output and gradients of non-contiguous input against autograd through mmcv's function."""
    tensors = some_input(queries=9)
    leaves = [t.clone().requires_grad_() for t in tensors]
    value, locations, weights = leaves
    expected = ops.multi_scale_deform_attn.multi_scale_deformable_attn_pytorch(
        value, torch.tensor(SIZES), locations, weights
    )
    factors = torch.randn_like(expected)
    expected.backward(factors)
    others = [
        t.to(device).transpose(0, 1).contiguous().transpose(0, 1).requires_grad_() for t in tensors
    ]
    result = attend(*others)
    result.backward(factors.to(device).transpose(0, 2).contiguous().transpose(0, 2))
    torch.testing.assert_close(result.cpu(), expected)
    for leaf, other in zip(leaves, others, strict=True):
        torch.testing.assert_close(other.grad.cpu(), leaf.grad)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype, device):
    tensors = [t.to(dtype) for t in some_input()]
    exact = [t.double().requires_grad_() for t in tensors]
    expected = naive_attention(*exact)
    factors = torch.linspace(-1, 1, expected.numel()).view(expected.shape).to(dtype)
    expected.backward(factors.double())
    leaves = [t.to(device).requires_grad_() for t in tensors]
    with torch.autocast(device, dtype):
        result = attend(*leaves)
    result.backward(factors.to(device))
    assert result.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(result.double().cpu(), expected, rtol=eps, atol=1e-6)
    for leaf, reference in list(zip(leaves, exact, strict=True))[::2]:
        assert leaf.grad.dtype == dtype
        torch.testing.assert_close(leaf.grad.double().cpu(), reference.grad, rtol=eps, atol=2 * eps)


@pytest.mark.parametrize(('batch', 'queries'), [(1, 0), (0, 3)])
def test_nothing_to_attend(batch, queries):
    leaves = [t[:batch].requires_grad_() for t in some_input(batch=1, queries=queries)]
    result = attend(*leaves)
    result.sum().backward()
    assert result.shape == (batch, queries, 6)
    assert not any(leaf.grad.any() for leaf in leaves)


@pytest.mark.parametrize('device', DEVICES)
def test_deformable_detr_encoder_layer(device, monkeypatch):
    """A layer of mmdet's own, by mmcv's torch code and by the function it calls on CUDA."""
    from mmdet.models import layers

    torch.manual_seed(0)
    layer = layers.DeformableDetrTransformerEncoderLayer(
        self_attn_cfg=dict(embed_dims=16, num_heads=4, num_levels=2, num_points=2, dropout=0.0),
        ffn_cfg=dict(embed_dims=16, feedforward_channels=32, ffn_drop=0.0),
    )
    # Away from their initial values, so that every query samples somewhere else.
    torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight, std=0.3)
    torch.nn.init.normal_(layer.self_attn.attention_weights.weight, std=0.3)
    layer = layer.double()
    tokens = torch.randn(2, 26, 16, dtype=torch.float64)
    references = torch.rand(2, 26, 2, 2, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def outcome(device):
        own, shapes = layer.to(device), shapes_and_starts(device)
        leaf = tokens.to(device).requires_grad_()
        output = own(
            query=leaf,
            query_pos=torch.zeros_like(leaf),
            key_padding_mask=None,
            reference_points=references.to(device),
            spatial_shapes=shapes[0],
            level_start_index=shapes[1],
        )
        loss = (output * torch.linspace(-1, 1, output.numel()).view(output.shape).to(output)).sum()
        gradients = torch.autograd.grad(loss, [leaf, *own.parameters()])
        return [t.cpu() for t in (output.detach(), *gradients)]

    expected = outcome('cpu')
    if device == 'cpu':
        monkeypatch.setattr(
            ops.multi_scale_deform_attn,
            'multi_scale_deformable_attn_pytorch',
            lambda value, shapes, locations, weights: attend(value, locations, weights),
        )
    result = outcome(device)
    for name, got, wanted in zip(['output', 'input', *names], result, expected, strict=True):
        assert wanted.abs().max() > 0, name
        torch.testing.assert_close(got, wanted, msg=lambda text, name=name: f'{name}: {text}')
