"""PSANet's attention maps against scalar loops."""

import pytest
import torch
from served_ops import DEVICES, ops, use_served_ops
from torch.autograd import gradcheck

SIZES = [((3, 4), (5, 7)), ((4, 3), (2, 3)), ((3, 3), (7, 7)), ((2, 5), (4, 4))]


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def some_masks(size, mask_size):
    generator = torch.Generator().manual_seed(0)
    shape = (2, mask_size[0] * mask_size[1], *size)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def naive_attention(masks, kind, mask_size):
    """Let pixel (h, w) attend to (i, j) by the value of its mask that lies there."""
    images, _, height, width = masks.shape
    attention = torch.zeros(images, height, width, height, width, dtype=torch.float64)
    half = [(length - 1) // 2 for length in mask_size]
    axes = (height, width, height, width)
    for i, j, h, w in torch.cartesian_prod(*map(torch.arange, axes)).tolist():
        y, x = i - h + half[0], j - w + half[1]
        if 0 <= y < mask_size[0] and 0 <= x < mask_size[1]:
            value = masks[:, y * mask_size[1] + x, h, w]
            if kind == 'collect':
                attention[:, i, j, h, w] = value
            else:
                attention[:, h, w, i, j] = value
    return attention.view(images, height * width, height, width)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize(('size', 'mask_size'), SIZES)
def test_equals_loop(size, mask_size, kind, device):
    masks = some_masks(size, mask_size)
    result = ops.PSAMask(kind, mask_size)(masks.to(device))
    assert torch.equal(result.cpu(), naive_attention(masks, kind, mask_size))


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize(('size', 'mask_size'), SIZES[:2])
def test_gradient(size, mask_size, kind):
    masks = some_masks(size, mask_size).requires_grad_()
    assert gradcheck(ops.PSAMask(kind, mask_size), [masks])


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
def test_layouts_and_half_precision(kind):
    masks = some_masks(*SIZES[0]).bfloat16()
    layer = ops.PSAMask(kind, SIZES[0][1])
    strided = masks.to(memory_format=torch.channels_last).requires_grad_()
    result = layer(strided)
    assert torch.equal(result, naive_attention(masks.double(), kind, SIZES[0][1]).bfloat16())
    factors = torch.randn(result.shape).bfloat16().to(memory_format=torch.channels_last)
    result.backward(factors)
    plain = masks.clone().requires_grad_()
    layer(plain).backward(factors.contiguous())
    assert torch.equal(strided.grad, plain.grad)
