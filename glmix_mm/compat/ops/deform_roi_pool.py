"""Deformable RoI pooling (Dai et al. 2017, equation 5): RoIAlign with bins that can be shifted.

A bin is the average of bilinear samples, so it is a weighted sum of four pixels per sample, which
``torch.nn.functional.embedding_bag`` computes. mmcv has this op for CUDA only. Near the border
its slopes of the shifts are not the derivatives: they go by the position before it is moved onto
the map. They are the same here.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .boxes import check_boxes
from .widen import widen


class Samples(NamedTuple):
    """The samples of all bins, bin after bin.

    Attributes:
        bins: [S], the bin of each sample; bins are numbered as ``output``'s [K, y, x].
        starts: [bins], the first sample of each bin.
        places: [S, 4], the pixels upper left and right, lower left and right in [N * H * W].
        weights: [S, 4], what each adds to its bin.
        shares: [S], the share of a sample in its bin; 0 outside the map.
        past: [S, 2], y and x of the sample from the upper left pixel.
        rest: [S, 2], from the sample to the lower right pixel.
    """

    bins: Tensor
    starts: Tensor
    places: Tensor
    weights: Tensor
    shares: Tensor
    past: Tensor
    rest: Tensor


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the bins' averages to ``output`` [K, C, pooled_height, pooled_width].

    Args:
        input: [N, C, H, W].
        rois: [K, 5], index of the image, then x1, y1, x2, y2 in px of the image.
        offset: [K, 2, pooled_height, pooled_width], shifts of the bins along x and y, in
            ``gamma`` times the size of the box; or empty for none.
        output: written.
        pooled_height: bins along y.
        pooled_width: bins along x.
        spatial_scale: size of the map over the size of the image.
        sampling_ratio: samples per bin along each axis; 0 for one per pixel.
        gamma: factor of the shifts.
    """
    values, rois, offset = widen(input, rois, offset)
    bins = pooled_height, pooled_width
    samples = _samples(values.shape, rois, offset, bins, spatial_scale, sampling_ratio, gamma)
    sums = _sums(_rows(values), samples.weights, samples)
    output.copy_(sums.view(len(rois), *bins, values.shape[1]).permute(0, 3, 1, 2))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of ``input`` and ``offset`` to ``grad_input`` and ``grad_offset``."""
    values, gradient, rois, offset = widen(input, grad_output, rois, offset)
    bins = pooled_height, pooled_width
    samples = _samples(values.shape, rois, offset, bins, spatial_scale, sampling_ratio, gamma)
    n, c, h, w = values.shape
    leaves = [leaf.detach().requires_grad_() for leaf in (_rows(values), samples.weights)]
    with torch.enable_grad():
        sums = _sums(*leaves, samples)
    of_rows, of_weights = torch.autograd.grad(sums, leaves, _rows(gradient))
    grad_input.copy_(of_rows.view(n, h, w, c).permute(0, 3, 1, 2))
    if not grad_offset.numel():
        return
    upper_left, upper_right, lower_left, lower_right = of_weights.unbind(1)
    (y, x), (rest_y, rest_x) = samples.past.unbind(1), samples.rest.unbind(1)
    slope_x = (lower_right - lower_left) * y + (upper_right - upper_left) * rest_y
    slope_y = (lower_right - upper_right) * x + (lower_left - upper_left) * rest_x
    slopes = torch.stack([slope_x, slope_y], dim=1) * samples.shares[:, None]
    per_bin = slopes.new_zeros(len(samples.starts), 2).index_add_(0, samples.bins, slopes)
    sizes = (rois[:, 3:] - rois[:, 1:3]) * spatial_scale * gamma
    grad_offset.copy_(
        per_bin.view(len(rois), *bins, 2).permute(0, 3, 1, 2) * sizes[..., None, None]
    )


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _sums(rows: Tensor, weights: Tensor, samples: Samples) -> Tensor:
    """Return the bins' averages, [bins, C]."""
    places, starts = samples.places.flatten(), samples.starts * 4
    return embedding_bag(places, rows, starts, mode='sum', per_sample_weights=weights.flatten())


def _bins(
    rois: Tensor,
    offset: Tensor,
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    gamma: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each bin begins, its size and its samples along y and x; [bins, 2] each."""
    corners = (rois[:, 1:] * scale - 0.5).view(-1, 2, 2).flip(2)  # y, x
    sizes = corners[:, 1] - corners[:, 0]
    steps = sizes / sizes.new_tensor(bins)
    counts = torch.full_like(steps, sampling_ratio) if sampling_ratio > 0 else steps.ceil()
    number = torch.cartesian_prod(*(torch.arange(n, device=rois.device) for n in bins)).view(-1, 2)
    begins = corners[:, :1] + number * steps[:, None]
    if offset.numel():
        shifts = offset.flatten(2).transpose(1, 2).flip(2)
        begins = begins + gamma * sizes[:, None] * shifts
    steps, counts = (values.repeat_interleave(len(number), 0) for values in (steps, counts))
    return begins.flatten(0, 1), steps, counts.clamp(min=0).long()


def _samples(
    shape: torch.Size,
    rois: Tensor,
    offset: Tensor,
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Samples:
    check_boxes(rois, bins, shape, scale, 'deform_roi_pool')
    _, _, height, width = shape
    begins, steps, counts = _bins(rois, offset, bins, scale, sampling_ratio, gamma)
    totals = counts.prod(1)
    starts = totals.cumsum(0) - totals
    # One row per sample from here on.
    of_bin = torch.arange(len(totals), device=rois.device).repeat_interleave(totals)
    within = torch.arange(len(of_bin), device=rois.device) - starts[of_bin]
    along_x = counts[of_bin, 1]
    place = torch.stack([within // along_x, within % along_x], dim=1)
    at = begins[of_bin] + (place + 0.5) * steps[of_bin] / counts[of_bin]
    ends = at.new_tensor([height, width])
    shares = ((at >= -1) & (at <= ends)).all(1) / totals[of_bin]
    on_map = at.clamp(min=0)
    low = torch.minimum(on_map.floor().nan_to_num(), ends - 1)  # a NaN stays in the weights
    high = torch.minimum(low + 1, ends - 1)
    y, x = torch.where(low < ends - 1, on_map - low, 0).unbind(1)
    weights = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], dim=1)
    rows, columns = (torch.stack([low[:, i], high[:, i]], dim=1).long() for i in (0, 1))
    rows = rows + rois[of_bin // (bins[0] * bins[1]), :1].long() * height
    places = (rows[:, :, None] * width + columns[:, None]).flatten(1)
    return Samples(of_bin, starts, places, weights * shares[:, None], shares, at - low, high - at)
