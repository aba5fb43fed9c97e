"""RoIAlign and RoIPool against scalar loops in float64, torchvision and finite differences."""

import math

import pytest
import torch
import torchvision
from served_ops import DEVICES, ops, random_boxes, use_served_ops
from torch.autograd import gradcheck

from glmix_mm.compat.ops import roi_align_rows
from glmix_mm.errors import UserError


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def some_maps(dtype=torch.float64, shape=(2, 3, 12, 15)):
    """Maps of different values everywhere, so that every maximum is unique."""
    count = math.prod(shape)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return (order.to(dtype) / count - 0.5).view(shape)


def some_rois(count=9, size=40.0, dtype=torch.float64):
    """RoIs over maps of 1/4 the size; the last ones lie outside or have no extent."""
    boxes = random_boxes(count, size, torch.Generator().manual_seed(1)).to(dtype)
    boxes[-1] = torch.tensor([7.3, 9.1, 7.3, 9.1])
    boxes[-2] = torch.tensor([-30.0, -20, -12, -9])
    image = (torch.arange(count) % 2).to(dtype)
    return torch.cat([image[:, None], boxes], dim=1)


def bilinear(plane, y, x):
    """Sample one plane as RoIAlign does: zero beyond a border of one pixel, else clamped."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    return (
        (1 - fy) * (1 - fx) * plane[top, left]
        + (1 - fy) * fx * plane[top, right]
        + fy * (1 - fx) * plane[bottom, left]
        + fy * fx * plane[bottom, right]
    )


def naive_roi_align(maps, rois, bins, scale, ratio, aligned):
    output = torch.zeros(len(rois), maps.shape[1], bins, bins, dtype=torch.float64)
    shift = 0.5 if aligned else 0.0
    for k, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (value * scale - shift for value in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        rows = ratio or math.ceil(height / bins)
        columns = ratio or math.ceil(width / bins)
        for c, i, j in torch.cartesian_prod(*map(torch.arange, output.shape[1:])).tolist():
            samples = [
                bilinear(
                    maps[int(image), c],
                    y1 + (i + (p + 0.5) / rows) * height / bins,
                    x1 + (j + (q + 0.5) / columns) * width / bins,
                )
                for p in range(rows)
                for q in range(columns)
            ]
            output[k, c, i, j] = sum(samples) / max(len(samples), 1)
    return output


def naive_roi_pool(maps, rois, bins, scale):
    channels, rows, columns = maps.shape[1:]
    output = torch.zeros(len(rois), channels, bins, bins, dtype=maps.dtype)
    for k, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        left, top = x1 * scale, y1 * scale
        width, height = (x2 + 1) * scale - left, (y2 + 1) * scale - top
        if width <= 0 or height <= 0:
            continue
        for i in range(bins):
            for j in range(bins):
                y = slice(
                    min(max(math.floor(top + i * height / bins), 0), rows),
                    min(max(math.ceil(top + (i + 1) * height / bins), 0), rows),
                )
                x = slice(
                    min(max(math.floor(left + j * width / bins), 0), columns),
                    min(max(math.ceil(left + (j + 1) * width / bins), 0), columns),
                )
                inside = maps[int(image), :, y, x].flatten(1)
                if inside.shape[1]:
                    output[k, :, i, j] = inside.max(dim=1).values
    return output


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
def test_roi_align_equals_loop_and_torchvision(ratio, aligned, device):
    maps, rois = some_maps(), some_rois()
    layer = ops.RoIAlign(4, 0.25, ratio, 'avg', aligned)
    result = layer(maps.to(device), rois.to(device)).cpu()
    torch.testing.assert_close(result, naive_roi_align(maps, rois, 4, 0.25, ratio, aligned))
    public = torchvision.ops.roi_align(maps, rois, 4, 0.25, ratio, aligned)
    torch.testing.assert_close(result, public)
    assert result.abs().max() > 0.1


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradient(ratio, aligned):
    maps = some_maps(shape=(2, 2, 7, 9)).requires_grad_()
    layer = ops.RoIAlign((3, 2), 0.25, ratio, 'avg', aligned)
    assert gradcheck(lambda x: layer(x, some_rois(5, 24.0)), maps)


@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_of_any_box(ratio, monkeypatch):
    """Boxes beyond the map, of no or negative extent, many times its size; in several chunks."""
    maps = some_maps(shape=(2, 3, 9, 11)).requires_grad_()
    boxes = [
        [-100, -100, -50, -50],
        [-9, -9, 200, 150],
        [5, 5, 5, 5],
        [30, 20, 10, 8],
        [43.9, 35.9, 44.1, 36.1],
        [0, 0, 44, 36],
        [40, 1, 41, 30],
    ]
    rois = torch.tensor([[i % 2, *box] for i, box in enumerate(boxes)], dtype=torch.float64)
    monkeypatch.setattr(roi_align_rows, 'ENTRIES', 200)
    for aligned in (True, False):
        layer = ops.RoIAlign(3, 0.25, ratio, 'avg', aligned)
        result = layer(maps, rois)
        expected = naive_roi_align(maps.detach(), rois, 3, 0.25, ratio, aligned)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
        factors = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view(result.shape)
        gradient, *_ = torch.autograd.grad(result, maps, factors)
        torchvisions, *_ = torch.autograd.grad(
            torchvision.ops.roi_align(maps, rois, 3, 0.25, ratio, aligned), maps, factors
        )
        torch.testing.assert_close(gradient, torchvisions, rtol=0, atol=1e-12)


def test_roi_align_as_torchvision_computes_it(monkeypatch):
    maps, rois = some_maps(torch.float32), some_rois(dtype=torch.float32)
    public = torchvision.ops.roi_align(maps, rois, 4, 0.25)
    own = ops.RoIAlign(4, 0.25, aligned=False)(maps, rois)
    torch.testing.assert_close(own, public, rtol=1e-5, atol=1e-6)
    monkeypatch.setenv('GLMIX_ROI_ALIGN', 'torchvision')
    assert torch.equal(ops.RoIAlign(4, 0.25, aligned=False)(maps, rois), public)


@pytest.mark.parametrize('value', [math.nan, math.inf, 3e9])
def test_roi_align_of_wild_boxes_is_an_error(value):
    rois = some_rois(dtype=torch.float32)
    rois[3, 4] = value
    with pytest.raises(UserError, match=r'RoIAlign: 1 of 9 .* 48 x 60 px.*\['):
        ops.RoIAlign(4, 0.25)(some_maps(torch.float32), rois)


def test_roi_align_max_says_what_to_do():
    with pytest.raises(UserError, match=r"pool_mode='max'.*pool_mode='avg'"):
        ops.RoIAlign(4, pool_mode='max')(some_maps(), some_rois())


@pytest.mark.parametrize('device', DEVICES)
def test_roi_pool_equals_loop(device):
    maps, rois = some_maps(), some_rois(20)
    result = ops.RoIPool(3, 0.25)(maps.to(device), rois.to(device)).cpu()
    assert torch.equal(result, naive_roi_pool(maps, rois, 3, 0.25))
    assert (result != 0).float().mean() > 0.5
    # bins smaller than a pixel, and a box that is inside out
    rois = torch.tensor([[0.0, 8, 8, 12, 16], [1, 20, 8, 10, 16], [1, 3, 3, 50, 40]]).double()
    result = ops.RoIPool(7, 0.25)(maps.to(device), rois.to(device)).cpu()
    assert torch.equal(result, naive_roi_pool(maps, rois, 7, 0.25))
    assert not result[1].any()


def test_roi_pool_equals_torchvision_on_whole_pixels():
    """torchvision rounds the box to pixels, mmcv doesn't: equal where there is nothing to round."""
    maps = some_maps()
    rois = torch.tensor([[0, 1, 2, 9, 8], [1, 0, 0, 14, 11], [1, 5, 5, 5, 5]]).double()
    public = torchvision.ops.roi_pool(maps, rois, 4, 1.0)
    assert torch.equal(ops.RoIPool(4, 1.0)(maps, rois), public)
    shifted = rois + torch.tensor([0, 0.4, 0.4, 0.4, 0.4])
    assert not torch.equal(
        ops.RoIPool(4, 1.0)(maps, shifted), torchvision.ops.roi_pool(maps, shifted, 4, 1.0)
    )


def test_roi_pool_gradient():
    maps = some_maps(shape=(2, 2, 7, 9)).requires_grad_()
    assert gradcheck(lambda x: ops.RoIPool((3, 2), 0.25)(x, some_rois(6, 24.0)), maps, eps=1e-5)


def test_roi_pool_of_equal_values_sends_the_gradient_to_the_first():
    maps = torch.ones(1, 1, 4, 4, requires_grad=True)
    ops.RoIPool(1, 1.0)(maps, torch.tensor([[0.0, 1, 1, 3, 3]])).sum().backward()
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1, 1] = 1
    assert torch.equal(maps.grad, expected)


@pytest.mark.parametrize(
    'layer', [ops.RoIAlign(3, 0.25), ops.RoIPool(3, 0.25)], ids=['align', 'pool']
)
@pytest.mark.parametrize('device', DEVICES)
class TestBothLayers:
    def reference(self, layer, maps, rois):
        """Return output and gradient in float64 from contiguous tensors on the CPU."""
        leaf = maps.double().cpu().contiguous().requires_grad_()
        output = layer(leaf, rois.double().cpu())
        (output * self.factors(output)).sum().backward()
        return output.detach(), leaf.grad

    def factors(self, output):
        return torch.linspace(-1, 1, output.numel()).view(output.shape).to(output)

    def test_layouts(self, layer, device):
        maps, rois = some_maps(torch.float32), some_rois(dtype=torch.float32)
        expected, expected_gradient = self.reference(layer, maps, rois)
        for layout in (
            lambda x: x.contiguous(memory_format=torch.channels_last),
            lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
            lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        ):
            leaf = layout(maps.to(device)).requires_grad_()
            output = layer(leaf, rois.to(device).repeat_interleave(2, dim=1)[:, ::2])
            # a gradient of another layout than the output
            factors = self.factors(output).contiguous(memory_format=torch.channels_last)
            output.backward(factors)
            torch.testing.assert_close(output.double().cpu(), expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                leaf.grad.double().cpu(), expected_gradient, rtol=1e-4, atol=1e-5
            )

    @pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
    def test_half_precision_under_autocast(self, layer, dtype, device):
        """Float32 boxes stay exact; the result is the float64 one rounded once."""
        maps, rois = some_maps(torch.float32).to(dtype), some_rois(dtype=torch.float32)
        expected, expected_gradient = self.reference(layer, maps, rois)
        leaf = maps.to(device).requires_grad_()
        with torch.autocast(device, dtype):
            output = layer(leaf, rois.to(device))
        output.backward(self.factors(output))
        assert output.dtype == leaf.grad.dtype == dtype
        precision = torch.finfo(dtype).eps
        torch.testing.assert_close(output.double().cpu(), expected, rtol=precision, atol=1e-5)
        torch.testing.assert_close(
            leaf.grad.double().cpu(), expected_gradient, rtol=4 * precision, atol=8 * precision
        )

    def test_nothing_in_nothing_out(self, layer, device):
        for batch in (0, 2):
            leaf = torch.rand(batch, 3, 8, 8, device=device, requires_grad=True)
            output = layer(leaf, torch.zeros(0, 5, device=device))
            output.sum().backward()
            assert output.shape == (0, 3, 3, 3)
            assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_roi_align_has_shapes_on_the_meta_device():
    """Counting multiply-adds runs a detector there."""
    output = ops.RoIAlign(7, 0.25)(
        torch.empty(1, 8, 50, 50, device='meta'), torch.empty(9, 5).to('meta')
    )
    assert output.shape == (9, 8, 7, 7)
