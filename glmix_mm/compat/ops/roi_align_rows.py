"""RoIAlign on CPUs as weighted sums of a map's positions, which run on all threads.

The average of a bin's bilinear samples is a weighted sum of the map's vectors at a few positions.
A position's weight is the product of a weight for its row and one for its column. Samples at most a
pixel apart share rows and columns, so there are (samples + 1)^2 positions instead of 4 samples^2.
``torch.nn.functional.embedding_bag`` computes such sums in parallel, for the output and for the
map's gradient. torchvision's kernel has one thread. Results equal torchvision's except for the
order of the sums.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

ENTRIES = 2**22  # positions of bins that are held at a time


class Taps(NamedTuple):
    """The positions along one axis whose values each bin of each box sums up.

    Attributes:
        positions: [K, bins, taps], in the map.
        weights: [K, bins, taps]; 0 where a box has fewer.
        counts: [K], taps of each box's bins.
    """

    positions: Tensor
    weights: Tensor
    counts: Tensor


class Entries(NamedTuple):
    """What some boxes' bins sum up.

    Attributes:
        boxes: [k], numbers of the boxes.
        places: [k * bins_y * bins_x, n], rows of the map as [N * H * W, C].
        weights: of the same shape.
    """

    boxes: Tensor
    places: Tensor
    weights: Tensor


def forward(
    maps: Tensor,
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
    output: Tensor,
) -> None:
    """Write the bins' averages to ``output``, [K, C, bins_y, bins_x].

    Args:
        maps: [N, C, H, W].
        rois: [K, 5], index of the image, then x1, y1, x2, y2 in px of the image; of the same type.
        bins: along y and x.
        scale: size of the map over the size of the image.
        sampling_ratio: samples per bin along each axis; 0 for one per pixel.
        aligned: shift by half a pixel, and no minimum size.
        output: written.
    """
    channels = maps.shape[1]
    rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    sums = rows.new_empty(len(rois), bins[0] * bins[1] * channels)
    for boxes, places, weights in entries(maps.shape, rois, bins, scale, sampling_ratio, aligned):
        of_bins = embedding_bag(places, rows, mode='sum', per_sample_weights=weights)
        sums.index_copy_(0, boxes, of_bins.view(len(boxes), -1))
    output.copy_(sums.view(len(rois), *bins, channels).permute(0, 3, 1, 2))


def backward(
    gradient: Tensor,
    rois: Tensor,
    scale: float,
    sampling_ratio: int,
    aligned: bool,
    map_gradient: Tensor,
) -> None:
    """Write the gradient of the map to ``map_gradient``, [N, C, H, W].

    Args:
        gradient: of the output, [K, C, bins_y, bins_x].
        rois: as in :func:`forward`.
        scale: likewise.
        sampling_ratio: likewise.
        aligned: likewise.
        map_gradient: written.
    """
    n, c, h, w = map_gradient.shape
    bins = tuple(gradient.shape[2:])
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, c)
    total, held = None, []
    for each in entries(map_gradient.shape, rois, bins, scale, sampling_ratio, aligned):
        held.append(each)
        if sum(one.places.numel() for one in held) > ENTRIES:
            total = _scatter(rows, held, bins, n * h * w, total)
            held = []
    if held:
        total = _scatter(rows, held, bins, n * h * w, total)
    if total is None:  # no box
        map_gradient.zero_()
    else:
        for target, source in zip(map_gradient, total.view(n, h * w, c), strict=True):
            # torch transposes matrices four times as fast as it permutes (N, H, W, C).
            target.view(c, h * w).copy_(source.t())


def _scatter(
    rows: Tensor, held: list[Entries], bins: tuple[int, int], length: int, total: Tensor | None
) -> Tensor:
    """Add the bins' gradients to those of the map's positions, [length, C], if there are some."""
    each = torch.arange(bins[0] * bins[1], dtype=torch.int32)
    sources = [
        (boxes.int()[:, None] * len(each) + each).view(-1, 1).expand_as(places).reshape(-1)
        for boxes, places, _ in held
    ]
    places, order = torch.cat([places.reshape(-1) for _, places, _ in held]).sort(stable=True)
    weights = torch.cat([weights.reshape(-1) for *_, weights in held])[order]
    starts = torch.searchsorted(places, torch.arange(length, dtype=torch.int32), out_int32=True)
    sources = torch.cat(sources)[order]
    part = embedding_bag(sources, rows, starts, mode='sum', per_sample_weights=weights)
    return part if total is None else total.add_(part)


def entries(
    shape: torch.Size,
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[Entries]:
    """Yield what the bins sum up, boxes of equally many positions together, cut to ``ENTRIES``."""
    _, _, height, width = shape
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    sizes = corners[:, 2:] - corners[:, :2]
    if not aligned:
        sizes = sizes.clamp(min=1.0)
    rows = axis_taps(corners[:, 1], sizes[:, 1], bins[0], height, sampling_ratio)
    columns = axis_taps(corners[:, 0], sizes[:, 0], bins[1], width, sampling_ratio)
    images = rois[:, 0].int() * (height * width)
    most = int(columns.counts.max()) + 1 if len(rois) else 1
    kinds = rows.counts * most + columns.counts
    for kind in kinds.unique().tolist():
        taps_y, taps_x = divmod(kind, most)
        per_box = bins[0] * bins[1] * taps_y * taps_x
        for boxes in (kinds == kind).nonzero()[:, 0].split(max(1, ENTRIES // per_box)):
            # The taps of a bin, (taps_y, taps_x), in one axis: torch is slow along short ones.
            y = rows.positions[boxes, :, :taps_y] * width + images[boxes, None, None]
            y, weights_y = (
                values.repeat_interleave(taps_x, 2)[:, :, None]
                for values in (y, rows.weights[boxes, :, :taps_y])
            )
            x, weights_x = (
                values[boxes, :, :taps_x].repeat(1, 1, taps_y)[:, None]
                for values in (columns.positions, columns.weights)
            )
            flat = (len(boxes) * bins[0] * bins[1], taps_y * taps_x)
            yield Entries(boxes, (y + x).view(flat), (weights_y * weights_x).view(flat))


def axis_taps(start: Tensor, size: Tensor, bins: int, length: int, sampling_ratio: int) -> Taps:
    """Return the taps along an axis.

    Args:
        start: [K], where each box starts, px of the map.
        size: [K], its extent.
        bins: along the axis.
        length: of the map along the axis, px.
        sampling_ratio: samples per bin; 0 for one per pixel.
    """
    step = size / bins
    samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    samples = samples.clamp(min=0)
    most = int(samples.max()) if len(samples) else 0
    count, step, start = (x[:, None, None] for x in (samples, step, start))
    each = torch.arange(most, dtype=step.dtype)
    offset = (each + 0.5) * step / count.clamp(min=1)
    at = start + torch.arange(bins, dtype=step.dtype)[:, None] * step + offset
    inside = (each < count) & (at >= -1) & (at <= length)
    share = inside / count.clamp(min=1)
    at = at.clamp(0, length - 1)
    low = at.floor()
    upper = (at - low) * share
    lower = share - upper
    if sampling_ratio > 0:  # samples may be far apart: two taps each
        positions = torch.stack([low, (low + 1).clamp(max=length - 1)], dim=3).flatten(2)
        weights = torch.stack([lower, upper], dim=3).flatten(2)
        counts = samples * 2
    else:  # at most a pixel apart: one tap per pixel from the first sample's to the last's
        first = low[..., :1] if most else low.new_zeros(*low.shape[:2], 1)
        tap = (low - first).clamp(0, max(most - 1, 0)).long()
        weights = lower.new_zeros(*lower.shape[:2], most + 1)
        weights.scatter_add_(2, tap, lower).scatter_add_(2, tap + 1, upper)
        positions = (first + torch.arange(most + 1)).clamp(max=length - 1)
        counts = samples + 1
    return Taps(positions.int(), weights, counts.int())
