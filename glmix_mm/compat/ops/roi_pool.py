"""RoIPool (Girshick 2015) with mmcv's bin borders.

torchvision's op of this name rounds the box to whole pixels first; mmcv doesn't, so their numbers
differ and this one is written out in torch.
"""

import torch
from torch import Tensor

from .widen import widen


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the maximum of each bin to ``output``, and where it lies to ``argmax``.

    Args:
        input: [N, C, H, W].
        rois: [K, 5], index of the image, then x1, y1, x2, y2 (inclusive) in px of the image.
        output: [K, C, pooled_height, pooled_width], written; 0 where a bin holds no pixel.
        argmax: same shape, written: y * W + x of the first maximum, -1 where there is none.
        pooled_height: bins along y.
        pooled_width: bins along x.
        spatial_scale: size of the map over the size of the image.
    """
    channels, height, width = input.shape[1:]
    values, rois = widen(input, rois)
    top, rows = _bins(rois[:, 2], rois[:, 4], spatial_scale, pooled_height, height)
    left, columns = _bins(rois[:, 1], rois[:, 3], spatial_scale, pooled_width, width)
    # One row a bin from here on: [K, pooled_height, pooled_width] flattened.
    shape = (len(rois), pooled_height, pooled_width)
    rows = rows[:, :, None].expand(shape).flatten()
    columns = columns[:, None].expand(shape).flatten()
    corner = (top[:, :, None] * width + left[:, None]).flatten()
    image = rois[:, 0].long().repeat_interleave(pooled_height * pooled_width)
    pixels = values.permute(0, 2, 3, 1).reshape(-1, channels)
    best = pixels.new_full((len(corner), channels), -torch.inf)
    place = argmax.new_full((len(corner), channels), -1)
    # A loop over the pixels within a bin holds one candidate a bin at a time in memory.
    for y, x in _positions(rows, columns):
        bins = ((y < rows) & (x < columns)).nonzero().squeeze(1)
        pixel = corner[bins] + y * width + x
        candidate = pixels[image[bins] * (height * width) + pixel]
        better = candidate > best[bins]
        best[bins] = torch.where(better, candidate, best[bins])
        place[bins] = torch.where(better, pixel[:, None].to(place.dtype), place[bins])
    best[(rows == 0) | (columns == 0)] = 0
    output.copy_(best.view(*shape, channels).permute(0, 3, 1, 2))
    argmax.copy_(place.view(*shape, channels).permute(0, 3, 1, 2))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write to ``grad_input`` [N, C, H, W] each bin's gradient, at the pixel of its maximum."""
    channels, height, width = grad_input.shape[1:]
    (gradient,) = widen(grad_output)
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    index = plane[:, :, None, None] * (height * width) + argmax.clamp(min=0)
    total = gradient.new_zeros(grad_input.numel())
    total.index_add_(0, index.flatten(), gradient.masked_fill(argmax < 0, 0).flatten())
    grad_input.copy_(total.view(grad_input.shape))


def _bins(start: Tensor, end: Tensor, scale: float, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the first pixel and the number of pixels of each bin, [K, count] both.

    A box without extent has bins of 0 pixels.
    """
    first = start * scale
    extent = (end + 1) * scale - first
    step = (extent / count)[:, None]
    number = torch.arange(count, device=start.device)
    low = (number * step + first[:, None]).floor().clamp(0, size).long()
    high = ((number + 1) * step + first[:, None]).ceil().clamp(0, size).long()
    return low, torch.where(extent[:, None] > 0, (high - low).clamp(min=0), 0)


def _positions(rows: Tensor, columns: Tensor) -> list[tuple[int, int]]:
    """Return every (y, x) that the largest bin has, in reading order."""
    if not len(rows):
        return []
    return [(y, x) for y in range(int(rows.max())) for x in range(int(columns.max()))]
