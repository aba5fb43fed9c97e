"""Deformable convolution against scalar loops in float64, torchvision and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from served_ops import DEVICES, ops, use_served_ops
from torch.autograd import gradcheck

from glmix_mm.errors import UserError

GEOMETRIES = [
    dict(stride=1, padding=1, dilation=1),
    dict(stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
]


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def out_size(size, kernel, geometry):
    stride, padding, dilation = (pair(geometry[key]) for key in ('stride', 'padding', 'dilation'))
    return tuple(
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    )


def some_input(geometry, deform_groups=2, batch=2, dtype=torch.float64):
    """Return input, offsets, mask; offsets stay clear of whole pixels, where slopes jump."""
    generator = torch.Generator().manual_seed(0)
    height, width = out_size((6, 7), (3, 2), geometry)
    maps = torch.randn(batch, 4, 6, 7, generator=generator, dtype=torch.float64)
    shape = (batch, deform_groups * 6, height, width)
    whole = torch.randint(-2, 2, (batch, deform_groups * 12, height, width), generator=generator)
    part = torch.rand(whole.shape, generator=generator, dtype=torch.float64) * 0.6 + 0.2
    mask = torch.rand(shape, generator=generator, dtype=torch.float64)
    return maps.to(dtype), (whole + part).to(dtype), mask.to(dtype)


def make_layer(version, geometry, groups=1, deform_groups=2, dtype=torch.float64):
    torch.manual_seed(0)
    options = dict(geometry, groups=groups, deform_groups=deform_groups)
    if version == 1:
        return ops.DeformConv2d(4, 6, (3, 2), **options).to(dtype)
    layer = ops.ModulatedDeformConv2d(4, 6, (3, 2), **options).to(dtype)
    layer.bias.data.normal_()
    return layer


def run(layer, maps, offset, mask):
    if isinstance(layer, ops.ModulatedDeformConv2d):
        return layer(maps, offset, mask)
    return layer(maps, offset)


def bilinear(plane, y, x):
    """Sample one plane between its pixels, with zeros around it."""
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]:
            total += (1 - abs(y - i)) * (1 - abs(x - j)) * plane[i, j].item()
    return total


def naive_deform_conv(maps, offset, mask, weight, bias, geometry, groups, deform_groups):
    (stride_y, stride_x), (pad_y, pad_x), (step_y, step_x) = (
        pair(geometry[key]) for key in ('stride', 'padding', 'dilation')
    )
    channels, filters = maps.shape[1], weight.shape[0]
    taps = weight.shape[2] * weight.shape[3]
    output = torch.zeros(len(maps), filters, *offset.shape[2:], dtype=torch.float64)
    for n, c, i, j, t in torch.cartesian_prod(
        *map(torch.arange, (len(maps), channels, *offset.shape[2:], taps))
    ).tolist():
        ky, kx = divmod(t, weight.shape[3])
        tap = c // (channels // deform_groups) * taps + t
        y = i * stride_y - pad_y + ky * step_y + offset[n, 2 * tap, i, j].item()
        x = j * stride_x - pad_x + kx * step_x + offset[n, 2 * tap + 1, i, j].item()
        sample = bilinear(maps[n, c], y, x) * mask[n, tap, i, j].item()
        group, inside = divmod(c, channels // groups)
        own = slice(group * filters // groups, (group + 1) * filters // groups)
        output[n, own, i, j] += sample * weight[own, inside, ky, kx]
    return output + bias[:, None, None]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('version', [1, 2])
def test_equals_loop_and_torchvision(version, geometry, device):
    maps, offset, mask = some_input(geometry)
    layer = make_layer(version, geometry, groups=2)
    bias = layer.bias if version == 2 else None
    modulation = mask if version == 2 else torch.ones_like(mask)
    with torch.no_grad():
        expected = naive_deform_conv(
            maps,
            offset,
            modulation,
            layer.weight,
            torch.zeros(6) if bias is None else bias,
            geometry,
            groups=2,
            deform_groups=2,
        )
        public = torchvision.ops.deform_conv2d(
            maps, offset, layer.weight, bias, mask=mask if version == 2 else None, **geometry
        )
        result = run(layer.to(device), *(t.to(device) for t in (maps, offset, mask)))
    torch.testing.assert_close(result.cpu(), expected)
    torch.testing.assert_close(result.cpu(), public)


@pytest.mark.parametrize('version', [1, 2])
def test_nan_offsets_are_outside(version):
    """As in mmcv's kernels; torchvision's end the process."""
    geometry = GEOMETRIES[0]
    maps, offset, mask = some_input(geometry)
    layer = make_layer(version, geometry)
    results = []
    for away in (math.nan, -1e4):
        moved = offset.clone()
        moved[0, :2, 2, 3] = away  # both axes of a sample, then one
        moved[1, 2, 1] = away
        inputs = [tensor.clone().requires_grad_() for tensor in (maps, moved, mask)]
        output = run(layer, *inputs)
        used = [*inputs[: 1 + version], layer.weight]
        results.append([output, *torch.autograd.grad(output.square().sum(), used)])
    assert all(tensor.isfinite().all() for tensor in results[0])
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize('version', [1, 2])
def test_without_offsets_is_a_convolution(version):
    geometry = dict(stride=2, padding=1, dilation=2)
    maps, offset, mask = some_input(geometry, deform_groups=1)
    layer = make_layer(version, geometry, groups=2, deform_groups=1)
    expected = F.conv2d(
        maps, layer.weight, layer.bias if version == 2 else None, groups=2, **geometry
    )
    result = run(layer, maps, torch.zeros_like(offset), torch.ones_like(mask))
    torch.testing.assert_close(result, expected)


@pytest.mark.slow
@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_gradient(version, geometry):
    """By finite differences: input, offsets, mask, weight and bias, with groups."""
    maps, offset, mask = some_input(geometry, batch=1)
    layer = make_layer(version, geometry, groups=2)
    leaves = [maps, offset, layer.weight.detach()]
    if version == 2:
        leaves += [mask, layer.bias.detach()]

    def call(maps, offset, weight, mask=None, bias=None):
        names = dict(weight=weight) if bias is None else dict(weight=weight, bias=bias)
        inputs = (maps, offset) if mask is None else (maps, offset, mask)
        return torch.func.functional_call(layer, names, inputs)

    assert gradcheck(call, [leaf.clone().requires_grad_() for leaf in leaves])


def test_modulated_without_bias():
    geometry = GEOMETRIES[0]
    maps, offset, mask = some_input(geometry)
    layer = ops.ModulatedDeformConv2d(4, 6, (3, 2), deform_groups=2, bias=False, **geometry)
    layer.double()
    result = layer(maps, offset, mask)
    public = torchvision.ops.deform_conv2d(maps, offset, layer.weight, mask=mask, **geometry)
    torch.testing.assert_close(result, public)
    factors = torch.randn_like(result)
    (gradient,) = torch.autograd.grad(result, layer.weight, factors)
    (expected,) = torch.autograd.grad(public, layer.weight, factors)
    torch.testing.assert_close(gradient, expected)


def test_frozen_weight_or_input():
    """mmcv then asks for one half of v1's gradients only."""
    geometry = GEOMETRIES[0]
    maps, offset, _ = some_input(geometry)
    layer = make_layer(1, geometry)
    layer(maps, offset).sum().backward()
    weight_gradient = layer.weight.grad.clone()
    leaf = maps.clone().requires_grad_()
    layer.weight.requires_grad_(False)
    layer(leaf, offset).sum().backward()
    layer.weight.requires_grad_(True)
    both = maps.clone().requires_grad_()
    layer.weight.grad = None
    layer(both, offset).sum().backward()
    assert torch.equal(leaf.grad, both.grad)
    assert torch.equal(weight_gradient, layer.weight.grad)
    assert both.grad.abs().max() > 0


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('version', [1, 2])
def test_im2col_step_and_layouts(version, device):
    """A batch in several passes of mmcv's kernel, and tensors of other layouts."""
    geometry = GEOMETRIES[0]
    tensors = some_input(geometry, batch=4)
    layer = make_layer(version, geometry)
    if version == 1:
        layer.im2col_step = 2
    leaves = [t.clone().requires_grad_() for t in tensors]
    expected = run(layer, *leaves)
    factors = torch.randn_like(expected)
    expected.backward(factors)
    layer = layer.to(device)
    layer.weight.grad = None
    others = [
        t.to(device).contiguous(memory_format=torch.channels_last).requires_grad_() for t in tensors
    ]
    result = run(layer, *others)
    strided = factors.to(device).repeat_interleave(2, dim=3)[..., ::2]
    result.backward(strided)
    torch.testing.assert_close(result.cpu(), expected)
    for leaf, other in list(zip(leaves, others, strict=True))[: version + 1]:
        torch.testing.assert_close(other.grad.cpu(), leaf.grad)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('version', [1, 2])
def test_half_precision_under_autocast(version, dtype, device):
    """Under autocast the offsets come from a convolution in half precision."""
    geometry = GEOMETRIES[0]
    maps, offset, mask = (t.to(dtype) for t in some_input(geometry))
    layer = make_layer(version, geometry)
    layer.weight.data = layer.weight.data.to(dtype).double()
    leaf = maps.double().requires_grad_()
    expected = run(layer, leaf, offset.double(), mask.double())
    expected.sum().backward()
    layer = layer.float().to(device)
    other = maps.to(device).requires_grad_()
    with torch.autocast(device, dtype):
        result = run(layer, other, offset.to(device), mask.to(device))
    result.sum().backward()
    assert result.dtype == other.grad.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(result.double().cpu(), expected, rtol=eps, atol=eps)
    torch.testing.assert_close(other.grad.double().cpu(), leaf.grad, rtol=eps, atol=2 * eps)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('version', [1, 2])
def test_gradient_of_offsets_that_are_zero(version, device):
    """At whole pixels mmcv takes the slope to the next one; samples at -1 or beyond have none."""
    geometry = dict(stride=(2, 1), padding=(2, 1), dilation=(1, 2))
    maps, offset, mask = some_input(geometry)
    layer = make_layer(version, geometry).to(device)
    leaf = torch.zeros_like(offset, device=device, requires_grad=True)
    output = run(layer, maps.to(device), leaf, mask.to(device))
    factors = torch.randn(output.shape, dtype=torch.float64)
    output.backward(factors.to(device))
    mask = mask if version == 2 else torch.ones_like(mask)
    weight, expected = layer.weight.detach().cpu(), torch.zeros_like(offset)
    padded = F.pad(maps, [0, 1, 0, 1])
    taps = torch.cartesian_prod(*map(torch.arange, (2, 3, 2, *offset.shape[2:]))).tolist()
    for group, ky, kx, i, j in taps:
        y, x, tap = i * 2 - 2 + ky, j - 1 + kx * 2, group * 6 + ky * 2 + kx
        if not (0 <= y < 6 and 0 <= x < 7):
            continue
        own = padded[:, 2 * group : 2 * group + 2]
        slopes = own[:, :, y + 1, x] - own[:, :, y, x], own[:, :, y, x + 1] - own[:, :, y, x]
        through = factors[:, :, i, j] @ weight[:, 2 * group : 2 * group + 2, ky, kx]
        for axis, slope in enumerate(slopes):
            expected[:, 2 * tap + axis, i, j] = (through * slope).sum(1) * mask[:, tap, i, j]
    torch.testing.assert_close(leaf.grad.cpu(), expected)


def test_numbers_of_mmcvs_test():
    """tests/test_ops/test_modulated_deform_conv.py at 2.1.0."""
    layer = ops.ModulatedDeformConv2dPack(1, 1, 2, padding=1, bias=False)
    layer.weight.data.fill_(1)
    maps = torch.tensor([1.0, 2, 3]).expand(1, 1, 3, 3).clone().requires_grad_()
    output = layer(maps)
    output.sum().backward()
    rows = [[0.5, 1.5, 2.5, 1.5], [1, 3, 5, 3], [1, 3, 5, 3], [0.5, 1.5, 2.5, 1.5]]
    assert output.tolist() == [[rows]]
    assert torch.equal(maps.grad, torch.full_like(maps, 2))
    assert torch.equal(layer.weight.grad, torch.full_like(layer.weight, 9))
    offsets = layer.conv_offset
    assert offsets.bias.grad.tolist() == [-3, -1.5] * 4 + [4.5] * 4
    assert offsets.weight.grad.flatten(1).tolist() == [
        [-7, -4, 0, 0],
        [-9, 7.5, -6, 5],
        [-4, -7, 0, 0],
        [-7.5, -9, -5, -6],
        [-7, -4, -7, -4],
        [-6, 5, -9, 7.5],
        [-4, -7, -4, -7],
        [-5, -6, -7.5, -9],
        [10.5, 6, 7, 4],
        [6, 10.5, 4, 7],
        [7, 4, 10.5, 6],
        [4, 7, 6, 10.5],
    ]


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_offsets_of_a_larger_output(layout):
    """As in DyHead: mmcv's kernel finds those of an image one after another in memory."""
    geometry = GEOMETRIES[0]
    maps, offset, mask = some_input(geometry)
    size = offset.shape[2:]
    generator = torch.Generator().manual_seed(1)
    both = torch.randn(2, 30, 9, 12, generator=generator, dtype=torch.float64)
    large = [both[:, :24], both[:, 24:].sigmoid().repeat(1, 2, 1, 1)]
    fitted = [
        values.contiguous().as_strided(
            like.shape, (values.shape[1] * 9 * 12, size[0] * size[1], size[1], 1)
        )
        for values, like in zip(large, (offset, mask), strict=True)
    ]
    layer = make_layer(2, geometry)
    leaves = [values.contiguous(memory_format=layout).detach().requires_grad_() for values in large]
    small = [values.clone().requires_grad_() for values in fitted]
    result, expected = layer(maps, *leaves), layer(maps, *small)
    assert torch.equal(result, expected)
    factors = torch.randn_like(result)
    result.backward(factors)
    expected.backward(factors)
    for leaf, given in zip(leaves, small, strict=True):
        read = given.grad.flatten(1)
        assert torch.equal(leaf.grad.flatten(1)[:, : read.shape[1]], read)
        assert not leaf.grad.flatten(1)[:, read.shape[1] :].any()


def test_offsets_of_a_smaller_output_are_an_error():
    maps, offset, mask = some_input(GEOMETRIES[0])
    layer = make_layer(2, GEOMETRIES[0])
    with pytest.raises(UserError, match=r'offset .*\(2, 24, 6, 2\); .*\(2, 24'):
        layer(maps, offset[..., :2], mask)


def test_neck_of_dyhead_trains():
    from mmdet.models.necks import DyHead

    torch.manual_seed(0)
    neck = DyHead(16, 16, num_blocks=1)
    maps = [torch.randn(2, 16, size, size, requires_grad=True) for size in (16, 8, 4)]
    results = neck(maps)
    assert [result.shape for result in results] == [each.shape for each in maps]
    sum(result.square().sum() for result in results).backward()
    assert all(parameter.grad.isfinite().all() for parameter in neck.parameters())
    assert neck.dyhead_blocks[0].spatial_conv_offset.weight.grad.abs().sum() > 0
