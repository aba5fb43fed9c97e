"""The shared layers against formulas and torch's own modules."""

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from glmix_mm.models.layers import (
    BatchNorm2d,
    DropPath,
    LayerNorm2d,
    SelfAttention,
    to_map,
    to_tokens,
)


def test_tokens_and_maps_share_memory():
    x = torch.randn(2, 5, 3, 4).contiguous(memory_format=torch.channels_last)
    tokens = to_tokens(x)
    assert tokens.data_ptr() == x.data_ptr() and tokens.is_contiguous()
    assert torch.equal(tokens[1, 6], x[1, :, 1, 2])
    back = to_map(tokens, 3, 4)
    assert back.stride() == x.stride() and torch.equal(back, x)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('pure', [True, False])
def test_layer_norm_sums_its_gradients_in_float32(dtype, pure):
    """PyTorch's own are 15 % (weight) and 50 % (bias) off here, in bfloat16 on the CPU."""
    torch.manual_seed(0)
    x, grad = torch.randn(1, 64, 100, 200), torch.randn(1, 64, 100, 200) + 0.1
    exact = LayerNorm2d(64).double()
    exact(x.to(dtype).double()).backward(grad.to(dtype).double())
    norm = LayerNorm2d(64).to(dtype if pure else torch.float32)
    with torch.autocast('cpu', dtype):
        out = norm(x.to(dtype))
    assert out.dtype == dtype
    out.backward(grad.to(dtype))
    for found, expected in zip(norm.parameters(), exact.parameters(), strict=True):
        assert (found.grad - expected.grad).norm() < 2**-8 * expected.grad.norm()


def batch_norm_gradient(x, weight, grad):
    """Return the gradient of training-mode batch norm by its textbook formula, eps 1e-5."""
    dims = (0, 2, 3)
    std = (x.var(dims, unbiased=False, keepdim=True) + 1e-5).sqrt()
    hat = (x - x.mean(dims, keepdim=True)) / std
    scaled = grad * weight.view(1, -1, 1, 1)
    return (
        scaled - scaled.mean(dims, keepdim=True) - hat * (scaled * hat).mean(dims, keepdim=True)
    ) / std


@pytest.mark.parametrize('shape', [(1, 256, 8, 6), (1, 64, 1, 5), (1, 64, 5, 1), (2, 32, 4, 6)])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_batch_norm_gradient_whatever_the_strides(shape, layout):
    torch.manual_seed(0)
    n, c, h, w = shape
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    # The gradient that `tokens.transpose(1, 2).reshape(n, c, h, w)` sends back.
    grad = torch.randn(n, h * w, c, dtype=torch.float64).transpose(1, 2).reshape(n, c, h, w)
    norm = BatchNorm2d(c).double()
    nn.init.normal_(norm.weight)
    norm(x).backward(grad)
    expected = batch_norm_gradient(x.detach(), norm.weight.detach(), grad.contiguous())
    torch.testing.assert_close(x.grad, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(norm.bias.grad, grad.sum((0, 2, 3)), rtol=1e-9, atol=1e-9)


def test_layer_norm_over_channels():
    torch.manual_seed(0)
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64)
    norm = LayerNorm2d(7).double()
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    hat = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    expected = hat * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(norm(x), expected)


def test_self_attention_equals_torchs():
    torch.manual_seed(0)
    ours, theirs = SelfAttention(64, 32), nn.MultiheadAttention(64, 2, batch_first=True)
    theirs.in_proj_bias.data.normal_()
    ours.qkv.weight.data, ours.qkv.bias.data = theirs.in_proj_weight.data, theirs.in_proj_bias.data
    ours.proj.load_state_dict(theirs.out_proj.state_dict())
    x = torch.randn(3, 10, 64)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('p', [0.0, 0.3, 1.0])
def test_drop_path_is_torchvisions(p):
    x, results = torch.randn(64, 3, 2, 2), []
    for layer in (DropPath(p), StochasticDepth(p, 'row')):
        torch.manual_seed(0)
        results.append(layer.train()(x))
        assert layer.eval()(x) is x
    torch.testing.assert_close(*results, rtol=0, atol=0)
