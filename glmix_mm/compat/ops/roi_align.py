"""RoIAlign (He et al. 2017): weighted rows on CPUs, torchvision's kernel on GPUs."""

import os

import torch
from torch import Tensor

from glmix_mm.errors import UserError

from . import roi_align_rows
from .boxes import check_boxes
from .widen import widen

AVERAGE = 1
SWITCH = 'GLMIX_ROI_ALIGN'  # 'torchvision' computes the same, bit for bit, as a compiled mmcv


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the average of bilinear samples in each bin to ``output``.

    Args:
        input: [N, C, H, W].
        rois: [K, 5], index of the image, then x1, y1, x2, y2 in px of the image.
        output: [K, C, aligned_height, aligned_width], written.
        argmax_y: only for max pooling, unused.
        argmax_x: only for max pooling, unused.
        aligned_height: bins along y.
        aligned_width: bins along x.
        spatial_scale: size of the map over the size of the image.
        sampling_ratio: samples per bin along each axis; 0 for one per pixel.
        pool_mode: 1 (average).
        aligned: shift by half a pixel, and no minimum size.

    Raises:
        UserError: ``pool_mode`` is 0 (max); or, on a CPU, a box is far larger than any image.
    """
    _require_average(pool_mode)
    values, rois = widen(input, rois)
    bins = (aligned_height, aligned_width)
    if _on_cpu(values):
        check_boxes(rois, bins, values.shape, spatial_scale, 'RoIAlign')
    if _by_rows(values):
        roi_align_rows.forward(values, rois, bins, spatial_scale, sampling_ratio, aligned, output)
        return
    output.copy_(
        torch.ops.torchvision.roi_align(
            values, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the map to ``grad_input`` [N, C, H, W]; arguments as in forward."""
    _require_average(pool_mode)
    gradient, rois = widen(grad_output, rois)
    if _by_rows(gradient):
        roi_align_rows.backward(gradient, rois, spatial_scale, sampling_ratio, aligned, grad_input)
        return
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            gradient,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _on_cpu(values: Tensor) -> bool:
    """Whether a tensor has values (fake ones have none), on a CPU."""
    return type(values) is Tensor and values.device.type == 'cpu'


def _by_rows(values: Tensor) -> bool:
    """Whether to sum rows: on a CPU, unless switched off."""
    return _on_cpu(values) and os.environ.get(SWITCH) != 'torchvision'


def _require_average(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise UserError(
            "RoIAlign: found pool_mode='max', which needs the compiled mmcv; without it glmix_mm "
            "serves pool_mode='avg': set that in roi_layer, or install the full mmcv"
        )
