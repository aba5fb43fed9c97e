"""Overlaps of boxes against mmcv's expected numbers and torchvision."""

import pytest
import torch
import torchvision
from served_ops import DEVICES, ops, random_boxes, use_served_ops


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def test_numbers_of_mmcvs_test():
    """tests/test_ops/test_bbox.py at 2.1.0."""
    first = torch.tensor([[1.0, 1, 3, 4], [2, 2, 3, 4], [7, 7, 8, 8]])
    second = torch.tensor([[0.0, 2, 2, 5], [2, 1, 3, 3]])
    expected = torch.tensor([[1 / 3, 0.5], [0.2, 0.5], [0, 0]])
    torch.testing.assert_close(ops.bbox_overlaps(first, second, offset=1), expected)
    pairs = ops.bbox_overlaps(first[:2], second, aligned=True, offset=1)
    torch.testing.assert_close(pairs, torch.tensor([1 / 3, 0.5]))
    shifted = torch.arange(1000.0)[:, None] + torch.tensor([10.0, 10, 30, 30])
    pairs = ops.bbox_overlaps(shifted, shifted + 10, aligned=True)
    torch.testing.assert_close(pairs, torch.full((1000,), 1 / 7))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize('offset', [0, 1])
def test_equals_torchvision(offset, dtype, device):
    generator = torch.Generator().manual_seed(0)
    first, second = (random_boxes(count, 100, generator).to(dtype) for count in (30, 20))
    to_edge = torch.tensor([0, 0, offset, offset])
    wide = [boxes.double() + to_edge for boxes in (first, second)]
    union = torchvision.ops.box_iou(*wide)
    result = ops.bbox_overlaps(first.to(device), second.to(device), offset=offset)
    torch.testing.assert_close(result.cpu(), union.to(dtype))
    # The intersection, from IoU = I / (A + B - I), over the first box.
    areas = [torchvision.ops.box_area(boxes) for boxes in wide]
    over_first = union / (1 + union) * (areas[0][:, None] + areas[1]) / areas[0][:, None]
    result = ops.bbox_overlaps(first.to(device), second.to(device), 'iof', offset=offset)
    torch.testing.assert_close(result.cpu(), over_first.to(dtype))
