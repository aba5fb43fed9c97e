"""The convolution at some pixels only against the whole convolution."""

import pytest
import torch
import torch.nn.functional as F
from served_ops import DEVICES, ops, use_served_ops

from glmix_mm.compat.ops import masked_im2col_forward


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize(('kernel', 'padding'), [(1, 0), (3, 1), ((3, 5), (1, 2))])
def test_equals_a_convolution_where_the_mask_is_set(kernel, padding, dtype, device):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 4, 6, 7, generator=generator, dtype=dtype)
    mask = torch.rand(1, 6, 7, generator=generator) > 0.6
    layer = ops.MaskedConv2d(4, 5, kernel, padding=padding).to(dtype)
    whole = F.conv2d(maps, layer.weight, layer.bias, padding=padding)
    result = layer.to(device)(maps.to(device), mask.to(device)).cpu()
    torch.testing.assert_close(result, whole * mask)
    assert 5 < mask.sum() < 37


def test_no_pixel_and_no_mask():
    layer = ops.MaskedConv2d(4, 5, 3, padding=1)
    maps = torch.randn(1, 4, 6, 7).to(memory_format=torch.channels_last)
    assert not layer(maps, torch.zeros(1, 6, 7)).any()
    torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight, layer.bias, padding=1))


def test_windows_beyond_the_map_are_zero():
    """Without padding, where the last windows end outside."""
    maps = torch.arange(1.0, 7).view(1, 1, 2, 3)
    windows = torch.zeros(4, 2)
    pixels = torch.tensor([0, 1]), torch.tensor([1, 2])
    masked_im2col_forward(maps, *pixels, windows, kernel_h=2, kernel_w=2, pad_h=0, pad_w=0)
    assert windows.T.tolist() == [[2, 3, 5, 6], [6, 0, 0, 0]]
