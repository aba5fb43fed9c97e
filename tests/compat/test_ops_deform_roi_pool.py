"""Deformable RoI pooling against mmcv's expected numbers, scalar loops and finite differences."""

import math

import pytest
import torch
from served_ops import DEVICES, ops, use_served_ops
from torch.autograd import gradcheck

from glmix_mm.errors import UserError

GAMMA, SCALE, BINS = 0.3, 0.5, (2, 3)
MAP = (2, 3, 9, 8)
# Inside, over the left and upper border, over the right and lower one, empty, turned round.
ROIS = torch.tensor(
    [
        [0, 4.1, 3.3, 9.2, 12.7],
        [1, -3.1, -1.3, 6.2, 8.9],
        [0, 8.7, 10.1, 17.9, 19.3],
        [1, 5.0, 5.0, 5.0, 5.0],
        [0, 9.0, 9.0, 4.0, 5.0],
    ],
    dtype=torch.float64,
)


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def some_input():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(MAP, generator=generator, dtype=torch.float64)
    shifts = torch.randn(len(ROIS), 2, *BINS, generator=generator, dtype=torch.float64)
    return maps, shifts


def corners(at, size):
    """Return the pixels and the share of the second along an axis; None outside the map."""
    if at < -1 or at > size:
        return None
    low = min(int(max(at, 0)), size - 1)
    if low == size - 1:
        return low, low, 0.0
    return low, low + 1, max(at, 0) - low


def naive_pool(maps, rois, shifts, sampling_ratio, gradient):
    """Return the averages and the gradients of maps and shifts by mmcv's rules."""
    output = torch.zeros(len(rois), maps.shape[1], *BINS, dtype=torch.float64)
    of_maps, of_shifts = torch.zeros_like(maps), torch.zeros_like(shifts)
    for k, i, j in torch.cartesian_prod(*map(torch.arange, (len(rois), *BINS))).tolist():
        image, x1, y1, x2, y2 = rois[k].tolist()
        left, top, right, bottom = (value * SCALE - 0.5 for value in (x1, y1, x2, y2))
        width, height = right - left, bottom - top
        step_y, step_x = height / BINS[0], width / BINS[1]
        rows = sampling_ratio or max(math.ceil(step_y), 0)
        columns = sampling_ratio or max(math.ceil(step_x), 0)
        left += GAMMA * width * shifts[k, 0, i, j].item()
        top += GAMMA * height * shifts[k, 1, i, j].item()
        share = 1 / max(rows * columns, 1)
        for row, column in torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).tolist():
            y = top + i * step_y + (row + 0.5) * step_y / rows
            x = left + j * step_x + (column + 0.5) * step_x / columns
            along_y, along_x = corners(y, MAP[2]), corners(x, MAP[3])
            if along_y is None or along_x is None:
                continue
            (y0, y1, ly), (x0, x1, lx) = along_y, along_x
            plane, out = maps[int(image)], gradient[k, :, i, j] * share
            for at_y, at_x, weight in (
                (y0, x0, (1 - ly) * (1 - lx)),
                (y0, x1, (1 - ly) * lx),
                (y1, x0, ly * (1 - lx)),
                (y1, x1, ly * lx),
            ):
                output[k, :, i, j] += weight * share * plane[:, at_y, at_x]
                of_maps[int(image), :, at_y, at_x] += weight * out
            # The position is not moved onto the map here.
            slope_x = (plane[:, y1, x1] - plane[:, y1, x0]) * (y - y0)
            slope_x += (plane[:, y0, x1] - plane[:, y0, x0]) * (y1 - y)
            slope_y = (plane[:, y1, x1] - plane[:, y0, x1]) * (x - x0)
            slope_y += (plane[:, y1, x0] - plane[:, y0, x0]) * (x1 - x)
            of_shifts[k, 0, i, j] += GAMMA * width * (slope_x * out).sum()
            of_shifts[k, 1, i, j] += GAMMA * height * (slope_y * out).sum()
    return output, of_maps, of_shifts


def pool(maps, rois, shifts, sampling_ratio):
    return ops.deform_roi_pool(maps, rois, shifts, BINS, SCALE, sampling_ratio, GAMMA)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('shifted', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_equals_loop(sampling_ratio, shifted, device):
    maps, shifts = some_input()
    shifts = shifts if shifted else torch.zeros_like(shifts)
    gradient = torch.randn(len(ROIS), MAP[1], *BINS, dtype=torch.float64)
    expected = naive_pool(maps, ROIS, shifts, sampling_ratio, gradient)
    leaves = [tensor.to(device).requires_grad_() for tensor in (maps, shifts)]
    given = leaves[1] if shifted else None
    result = pool(leaves[0], ROIS.to(device), given, sampling_ratio)
    result.backward(gradient.to(device))
    torch.testing.assert_close(result.cpu(), expected[0])
    torch.testing.assert_close(leaves[0].grad.cpu(), expected[1])
    if shifted:
        torch.testing.assert_close(leaves[1].grad.cpu(), expected[2])


def test_gradient_of_shifts_inside_the_map():
    maps, shifts = some_input()
    leaf = (shifts[:1] * 0.1).requires_grad_()
    assert gradcheck(lambda shifts: pool(maps, ROIS[:1], shifts, 2), [leaf])


CASES = [  # tests/test_ops/test_deform_roi_pool.py at 2.1.0: map, box, output, gradient of the map
    (
        [[[1.0, 2], [3, 4]]],
        1,
        [[[1, 1.25], [1.5, 1.75]]],
        [[[3.0625, 0.4375], [0.4375, 0.0625]]],
    ),
    (
        [[[1.0, 2], [3, 4]], [[4, 3], [2, 1]]],
        1,
        [[[1, 1.25], [1.5, 1.75]], [[4, 3.75], [3.5, 3.25]]],
        [[[3.0625, 0.4375], [0.4375, 0.0625]]] * 2,
    ),
    (
        [[[1.0, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]],
        3,
        [[[1.9375, 4.75], [7.5625, 10.375]]],
        [
            [
                [0.47265625, 0.4296875, 0.4296875, 0.04296875],
                [0.4296875, 0.390625, 0.390625, 0.0390625],
                [0.4296875, 0.390625, 0.390625, 0.0390625],
                [0.04296875, 0.0390625, 0.0390625, 0.00390625],
            ]
        ],
    ),
]


@pytest.mark.parametrize(('maps', 'end', 'expected', 'gradient'), CASES)
def test_numbers_of_mmcvs_test(maps, end, expected, gradient):
    leaf = torch.tensor([maps], requires_grad=True)
    rois = torch.tensor([[0.0, 0, 0, end, end]])
    layer = ops.DeformRoIPoolPack((2, 2), leaf.shape[1], spatial_scale=1.0, sampling_ratio=2)
    result = layer(leaf, rois)
    result.backward(torch.ones_like(result))
    torch.testing.assert_close(result, torch.tensor([expected]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(leaf.grad, torch.tensor([gradient]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
@pytest.mark.parametrize('layer', [ops.DeformRoIPoolPack, ops.ModulatedDeformRoIPoolPack])
def test_layers_of_mmdet_train(layer, dtype):
    """Each part gets gradients once shifts are not 0."""
    torch.manual_seed(0)
    layer = layer((7, 7), 8, 16, spatial_scale=SCALE).to(dtype)
    maps = torch.randn(2, 8, 20, 24, dtype=dtype).to(memory_format=torch.channels_last)
    rois = (ROIS * torch.tensor([1, 2, 2, 2, 2])).to(dtype)
    layer.offset_fc[-1].bias.data.normal_()
    result = layer(maps, rois)
    assert (result.shape, result.dtype) == ((len(rois), 8, 7, 7), dtype)
    result.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    assert layer.offset_fc[-1].weight.grad.abs().sum() > 0


def test_no_box():
    maps = some_input()[0].requires_grad_()
    result = pool(maps, ROIS[:0], None, 0)
    assert result.shape == (0, MAP[1], *BINS)
    result.sum().backward()
    assert not maps.grad.any()


def test_nan_shift_gives_nan():
    maps, shifts = some_input()
    shifts[0, 1, 0, 2] = math.nan
    isnan = pool(maps, ROIS, shifts, 2).isnan()
    assert isnan[0, :, 0, 2].all()
    assert isnan.sum() == MAP[1]


@pytest.mark.parametrize('value', [math.nan, math.inf, 1e9])
def test_wild_boxes_are_an_error(value):
    rois = ROIS.clone()
    rois[2, 3] = value
    with pytest.raises(UserError, match=r'deform_roi_pool: 1 of 5 boxes'):
        pool(some_input()[0], rois, None, 0)
