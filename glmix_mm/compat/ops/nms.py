"""Non-maximum suppression: hard (torchvision's kernel), soft and matching (NumPy, on the CPU)."""

import numpy as np
import torch
from torch import Tensor

from .widen import widen

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes that survive NMS, best score first.

    Args:
        boxes: [N, 4], x1, y1, x2, y2 in px.
        scores: [N]; of equal scores the lower index goes first.
        iou_threshold: a box that overlaps a better one by more than this is dropped.
        offset: 0 or 1; the width of a box is x2 - x1 + offset (1: inclusive pixel indices).
    """
    boxes, scores = widen(boxes, scores)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    if boxes.dtype == torch.float32:
        # mmcv compares in float32, torchvision's CPU kernel in float64: unless the threshold is
        # rounded, an overlap of exactly 0.6 would be above 0.6.
        iou_threshold = float(np.float32(iou_threshold))
    return torch.ops.torchvision.nms(boxes, scores, iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al. 2017, figure 2), in the order of mmcv's implementation.

    Args:
        boxes: [N, 4], on the CPU as all arguments (mmcv brings them there).
        scores: [N].
        dets: [N, 5]; receives the K kept boxes with their decayed scores in its first K rows.
        iou_threshold: overlap from which the methods naive and linear lower a score.
        sigma: width of the decay exp(-IoU^2 / sigma) of the method gaussian.
        min_score: a box whose score decays below this is dropped.
        method: 0 naive (hard), 1 linear, 2 gaussian.
        offset: 0 or 1, as in :func:`nms`.

    Returns:
        The indices [K] of the kept boxes, in the order of their selection.
    """
    boxes_wide, scores_wide = widen(boxes, scores)
    # One row per box, as selection moves whole boxes: x1, y1, x2, y2, score.
    table = torch.cat([boxes_wide, scores_wide[:, None]], dim=1).detach().numpy()
    index = np.arange(len(table))
    kept = []
    while len(table):
        best = table[:, 4].argmax()
        dets[len(kept)] = torch.from_numpy(table[best])
        kept.append(index[best])
        box, table[best], index[best] = table[best].copy(), table[0], index[0]
        table, index = table[1:], index[1:]
        table[:, 4] *= _decay(_iou_with_others(box, table, offset), method, iou_threshold, sigma)
        order = _remove_by_swapping(table[:, 4] >= min_score)
        table, index = table[order], index[order]
    return torch.tensor(kept, dtype=torch.long)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the NMS that would drop them (PISA, Cao et al. 2020).

    Args:
        dets: [N, 5], x1, y1, x2, y2 in px and the score, on the CPU.
        iou_threshold: overlap from which a box joins a better one's group.

    Returns:
        One list a group: the index of the kept box, then those it absorbs, best score first.
    """
    table = widen(dets)[0].detach().numpy()
    # Negated, since only an ascending stable sort keeps equal scores in index order.
    order = np.argsort(-table[:, 4], kind='stable')
    groups = []
    while len(order):
        best, others = order[0], order[1:]
        absorbed = _iou_with_others(table[best], table[others], offset=0) >= iou_threshold
        groups.append([int(best), *others[absorbed].tolist()])
        order = others[~absorbed]
    return groups


def _iou_with_others(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """Return the IoU [N] of one row x1, y1, x2, y2, ... with others [N, ...]."""
    inner = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2]) + offset
    intersection = inner.clip(min=0).prod(axis=1)
    area = (box[2:4] - box[:2] + offset).prod()
    areas = (others[:, 2:4] - others[:, :2] + offset).prod(axis=1)
    union = area + areas - intersection
    # Two boxes without area don't overlap (mmcv's 0 / 0 is not above any threshold either).
    return np.divide(intersection, union, out=np.zeros_like(union), where=union != 0)


def _decay(iou: np.ndarray, method: int, iou_threshold: float, sigma: float) -> np.ndarray:
    """Return the factor that each score is multiplied by."""
    if method == GAUSSIAN:
        return np.exp(-(iou**2) / sigma)
    lowered = np.zeros_like(iou) if method == NAIVE else 1 - iou
    return np.where(iou >= iou_threshold, lowered, np.ones_like(iou))


def _remove_by_swapping(keep: np.ndarray) -> np.ndarray:
    """Return the order that is left when each dropped element is replaced by the last kept one.

    mmcv compacts its arrays in this way, and the order decides between equal scores.
    """
    order = np.arange(keep.sum())
    holes = np.flatnonzero(~keep[: len(order)])
    movers = len(order) + np.flatnonzero(keep[len(order) :])
    order[holes] = movers[::-1]
    return order
