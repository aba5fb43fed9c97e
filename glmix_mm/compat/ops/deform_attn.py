"""Multi-scale deformable attention (Zhu et al. 2021, equation 3), by torch's ``grid_sample``.

Both directions go level by level, so that the samples of one level at a time are in memory.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .widen import widen


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return the attended values [N, Q, M * D].

    Args:
        value: [N, S, M, D], the pixels of all levels, M heads of D channels.
        value_spatial_shapes: [L, 2], height and width of each level.
        value_level_start_index: [L], where each level begins along S.
        sampling_locations: [N, Q, M, L, P, 2], x and y from 0 to 1 across the level.
        attention_weights: [N, Q, M, L, P].
        im2col_step: unused (images per pass of mmcv's kernel).
    """
    wide = widen(value, sampling_locations, attention_weights)
    output = wide[0].new_zeros(*sampling_locations.shape[:2], value.shape[2] * value.shape[3])
    for level in _levels(value_spatial_shapes, value_level_start_index):
        output += _attend(*_views(*wide, level), level)
    return output.to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of value, locations and weights to the three ``grad_*`` buffers.

    The samples are computed anew; the other arguments are those of forward.
    """
    *wide, gradient = widen(value, sampling_locations, attention_weights, grad_output)
    for level in _levels(value_spatial_shapes, value_level_start_index):
        leaves = [view.detach().requires_grad_() for view in _views(*wide, level)]
        with torch.enable_grad():
            attended = _attend(*leaves, level)
        gradients = torch.autograd.grad(attended, leaves, gradient)
        buffers = _views(grad_value, grad_sampling_loc, grad_attn_weight, level)
        for buffer, result in zip(buffers, gradients, strict=True):
            buffer.copy_(result)


class Level(NamedTuple):
    """One level: its place among the levels, its size in px and where it begins along S."""

    number: int
    height: int
    width: int
    start: int


def _levels(shapes: Tensor, starts: Tensor) -> list[Level]:
    # One tensor, so that the device is waited for once.
    table = torch.cat([shapes, starts[:, None]], dim=1).tolist()
    return [Level(number, *row) for number, row in enumerate(table)]


def _views(
    value: Tensor, locations: Tensor, weights: Tensor, level: Level
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one level's values [N, HW, M, D], locations [N, Q, M, P, 2], weights [N, Q, M, P]."""
    end = level.start + level.height * level.width
    return (
        value[:, level.start : end],
        locations[:, :, :, level.number],
        weights[:, :, :, level.number],
    )


def _attend(value: Tensor, locations: Tensor, weights: Tensor, level: Level) -> Tensor:
    """Return the weighted sum [N, Q, M * D] of one level's samples."""
    batch, _, heads, channels = value.shape
    maps = value.permute(0, 2, 3, 1)
    maps = maps.reshape(batch * heads, channels, level.height, level.width)
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    sampled = F.grid_sample(maps, grid, mode='bilinear', padding_mode='zeros', align_corners=False)
    # sampled: [N * M, D, Q, P]
    attended = (sampled * weights.transpose(1, 2).flatten(0, 1).unsqueeze(1)).sum(-1)
    return attended.view(batch, heads * channels, locations.shape[1]).transpose(1, 2)
