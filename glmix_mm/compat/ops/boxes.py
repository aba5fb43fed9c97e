"""Finds boxes that no image holds before an op spends all memory on them."""

import torch
from torch import Tensor

from glmix_mm.errors import UserError

MOST_SAMPLES = 1000  # per bin along an axis: a box of 28,000 px at stride 4


def check_boxes(
    rois: Tensor, bins: tuple[int, int], shape: torch.Size, scale: float, op: str
) -> None:
    """Refuse boxes that are not finite or far larger than any image.

    Args:
        rois: [K, 5], index of the image, then x1, y1, x2, y2 in px of the image.
        bins: along y and x.
        shape: of the map, [N, C, H, W].
        scale: size of the map over the size of the image.
        op: its name.

    Raises:
        UserError: there are such boxes.
    """
    sizes = (rois[:, 3:] - rois[:, 1:3]) * scale
    wild = ~(sizes < MOST_SAMPLES * min(bins)).all(1) | ~rois.isfinite().all(1)
    if not wild.any():
        return
    box = ', '.join(f'{value:g}' for value in rois[wild][0, 1:].tolist())
    height, width = shape[2] / scale, shape[3] / scale
    raise UserError(
        f'{op}: {int(wild.sum())} of {len(rois)} boxes are not finite or far larger than the image '
        f'of {height:g} x {width:g} px, such as [{box}]; expected boxes in px of the image: the '
        'model diverged (lower the learning rate), or its weights are random and its boxes are '
        'not clipped'
    )
