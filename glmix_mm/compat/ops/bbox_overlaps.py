"""Intersection over union, or over the first box, of boxes."""

import torch
from torch import Tensor

from .widen import widen

IOF = 1  # mmcv's number for the intersection over the first box ("foreground")


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Write the overlaps to ``ious``.

    Args:
        bboxes1: [M, 4], x1, y1, x2, y2.
        bboxes2: [N, 4].
        ious: [M, N], or [M] if ``aligned``; written.
        mode: 0 to divide by the union, 1 by the area of the first box.
        aligned: compare boxes of one row only; N is M.
        offset: 1 if a box includes the pixels of its right and lower edge, else 0.
    """
    first, second = widen(bboxes1, bboxes2)
    if not aligned:
        first = first[:, None]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low + offset).clamp(min=0).prod(-1)
    whole = _area(first, offset)
    if mode != IOF:
        whole = whole + _area(second, offset) - common
    ious.copy_(common / whole)


def _area(boxes: Tensor, offset: int) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2] + offset).prod(-1)
