"""The depthwise convolution's gradients against torch's own."""

import pytest
import torch
from torch import nn

from glmix_mm.models.ops import depthwise
from glmix_mm.models.ops.depthwise import DepthwiseConv2d, depthwise_weight_gradient


def pair(dim, kernel_size, dtype=torch.float64):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(dim, kernel_size).to(dtype)
    torchs = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim).to(dtype)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@pytest.mark.parametrize('kernel_size', [3, 5, 7, 11])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    'shape', [(1, 3, 1, 1), (2, 7, 13, 18), (1, 3, 40, 1), (3, 4, 1, 33), (1, 5, 16, 16)], ids=str
)
def test_gradients_equal_torchs(kernel_size, layout, shape):
    ours, torchs = pair(shape[1], kernel_size)
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    grad = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = ours(x1), torchs(x2)
    assert torch.equal(out, expected)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x1.grad, x2.grad, rtol=1e-12, atol=1e-12)
    for found, reference in zip(ours.parameters(), torchs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, reference.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('elements', [1, 500, 2**30])
def test_channels_at_a_time_change_nothing(elements, monkeypatch):
    torch.manual_seed(0)
    x, grad = torch.randn(2, 9, 8, 21, dtype=torch.float64), torch.randn(2, 9, 8, 21).double()
    whole = depthwise_weight_gradient(x, grad, 5)
    monkeypatch.setattr(depthwise, 'ELEMENTS_AT_A_TIME', elements)
    torch.testing.assert_close(depthwise_weight_gradient(x, grad, 5), whole, rtol=1e-12, atol=1e-12)


def test_bfloat16_is_as_exact_as_its_inputs():
    torch.manual_seed(0)
    x, grad = (torch.randn(1, 8, 60, 70).bfloat16() for _ in range(2))
    found = depthwise_weight_gradient(x, grad, 11).double()
    exact = depthwise_weight_gradient(x.double(), grad.double(), 11)
    assert (found - exact).norm() < 2**-8 * exact.norm()


def test_autocast_gives_float32_gradients_to_float32_weights():
    ours, torchs = pair(6, 5, torch.float32)
    x = torch.randn(2, 6, 20, 20)
    with torch.autocast('cpu', torch.bfloat16):
        ours(x).float().square().sum().backward()
    torchs(x).square().sum().backward()
    for found, expected in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert found.grad.dtype == torch.float32
        assert (found.grad - expected.grad).norm() < 0.02 * expected.grad.norm()


def test_frozen_weights_get_none():
    conv = DepthwiseConv2d(4, 5).requires_grad_(False)
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None and conv.bias.grad is None
