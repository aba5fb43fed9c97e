"""CARAFE against scalar loops in float64 and finite differences."""

import pytest
import torch
from served_ops import DEVICES, ops, use_served_ops
from torch.autograd import gradcheck

from glmix_mm.compat.ops import carafe_naive_backward


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def some_input(kernel, groups, scale, channels=4, size=(4, 3)):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
    shape = (2, groups * kernel**2, scale * size[0], scale * size[1])
    return features, torch.randn(shape, generator=generator, dtype=torch.float64)


def naive_carafe(features, masks, kernel, groups, scale):
    images, channels, height, width = features.shape
    output = torch.zeros(images, channels, height * scale, width * scale, dtype=torch.float64)
    for n, c, y, x in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        group = c // (channels // groups)
        for tap in range(kernel**2):
            i = y // scale + tap // kernel - kernel // 2
            j = x // scale + tap % kernel - kernel // 2
            if 0 <= i < height and 0 <= j < width:
                output[n, c, y, x] += masks[n, group * kernel**2 + tap, y, x] * features[n, c, i, j]
    return output


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sizes', [(5, 2, 2), (3, 1, 3), (1, 4, 2), (3, 2, 1)])
def test_equals_loop(sizes, device):
    features, masks = some_input(*sizes)
    expected = naive_carafe(features, masks, *sizes)
    for name in (ops.CARAFE, ops.CARAFENaive):
        result = name(*sizes)(features.to(device), masks.to(device))
        torch.testing.assert_close(result.cpu(), expected)


@pytest.mark.parametrize('sizes', [(3, 2, 2), (5, 1, 1)])
def test_gradient(sizes):
    tensors = some_input(*sizes, channels=2, size=(3, 2))
    assert gradcheck(ops.CARAFE(*sizes), [tensor.requires_grad_() for tensor in tensors])


def test_naive_gradient_is_the_same():
    """Called as mmcv calls it: its own function refuses CPUs."""
    sizes = dict(kernel_size=3, group_size=2, scale_factor=2)
    leaves = [tensor.requires_grad_() for tensor in some_input(*sizes.values())]
    output = ops.CARAFE(**sizes)(*leaves)
    gradient = torch.randn_like(output)
    buffers = [torch.zeros_like(leaf) for leaf in leaves]
    carafe_naive_backward(gradient, *(leaf.detach() for leaf in leaves), *buffers, **sizes)
    torch.testing.assert_close(buffers, list(torch.autograd.grad(output, leaves, gradient)))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    sizes = (3, 2, 2)
    features, masks = (tensor.to(dtype) for tensor in some_input(*sizes))
    leaf = features.clone().requires_grad_()
    result = ops.CARAFE(*sizes)(leaf, masks)
    result.float().sum().backward()
    assert result.dtype == leaf.grad.dtype == dtype
    expected = naive_carafe(features.double(), masks.double(), *sizes)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(result.double(), expected, rtol=eps, atol=eps)


def test_upsampler_of_mmdet_trains():
    """The whole layer, with kernels from its own convolutions and another memory layout."""
    torch.manual_seed(0)
    layer = ops.CARAFEPack(8, 2)
    maps = torch.randn(2, 8, 5, 6).to(memory_format=torch.channels_last).requires_grad_()
    result = layer(maps)
    assert result.shape == (2, 8, 10, 12)
    plain = layer(maps.contiguous())
    torch.testing.assert_close(result, plain)
    result.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())
