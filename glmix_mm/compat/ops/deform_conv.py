"""Deformable convolution v1 (Dai et al. 2017) and v2 (Zhu et al. 2019), by torchvision's kernels.

mmcv's differ from these in two points, which are corrected here. A sample that lies exactly 1 px
above or left of the map is outside and has slope 0; torchvision takes the slope towards the map.
And v2 reads the offsets and masks of an image as one run of numbers, so that they may have been
computed for a larger output, as in DyHead's.

Names and order of the arguments are mmcv's: W before H in v1, H before W in v2. The scratch
buffers ``columns`` and ``ones`` and the number of images per pass, ``im2col_step``, are for mmcv's
kernels; torchvision's have their own.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glmix_mm.errors import UserError

from .widen import widen


class Geometry(NamedTuple):
    """The trailing arguments of torchvision's op, in its order."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int
    use_mask: bool


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the deformable convolution v1 to ``output`` [N, D, H', W'].

    Args:
        input: [N, C, H, W].
        weight: [D, C / group, kH, kW].
        offset: [N, 2 * deformable_group * kH * kW, H', W'], y and x in turn, in px of the map.
        output: written.
        columns: unused.
        ones: unused.
        kW: width of the kernel (read from ``weight``).
        kH: its height.
        dW: stride along x.
        dH: stride along y.
        padW: zeros added on the left and right.
        padH: zeros added above and below.
        dilationW: px between the kernel's columns.
        dilationH: px between its rows.
        group: groups of channels that are convolved apart.
        deformable_group: groups of channels with offsets of their own.
        im2col_step: unused.
    """
    geometry = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, False)
    output.copy_(_convolve(input, weight, offset, *_no_mask_no_bias(input, weight), geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of ``input`` and ``offset`` to ``gradInput`` and ``gradOffset``."""
    geometry = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, False)
    fixed = _no_mask_no_bias(input, weight)
    gradients = _gradients(gradOutput, input, weight, offset, *fixed, geometry)
    gradInput.copy_(gradients[0])
    gradOffset.copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Write ``scale`` times the gradient of the weight to ``gradWeight``.

    torchvision's backward computes all gradients at once, so mmcv's two calls do that work twice.
    """
    geometry = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, False)
    # mmcv doesn't pass the weight here, and its own gradient doesn't depend on it.
    weight = torch.zeros_like(gradWeight)
    fixed = _no_mask_no_bias(input, weight)
    gradWeight.copy_(scale * _gradients(gradOutput, input, weight, offset, *fixed, geometry)[1])


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the deformable convolution v2 to ``output`` [N, D, H', W'].

    Beyond v1 there are the bias [D] (empty unless ``with_bias``) and the mask
    [N, deformable_group * kernel_h * kernel_w, H', W'] that multiplies each sample.
    """
    geometry = Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group, True
    )
    bias = bias if with_bias else _no_bias(weight)
    offset, mask = _fitted(offset, mask, weight, deformable_group, output)
    output.copy_(_convolve(input, weight, offset, mask, bias, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradients of v2's five tensors to the ``grad_*`` buffers of their shapes."""
    geometry = Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group, True
    )
    bias = bias if with_bias else _no_bias(weight)
    offset, mask = _fitted(offset, mask, weight, deformable_group, grad_output)
    gradients = _gradients(grad_output, input, weight, offset, mask, bias, geometry)
    buffers = [grad_input, grad_weight, grad_offset, grad_mask]
    if with_bias:
        buffers.append(grad_bias)
    for buffer, gradient in zip(buffers, gradients, strict=False):
        if buffer.shape != gradient.shape:  # what was not read has the gradient 0
            unread = buffer.shape[1:].numel() - gradient.shape[1:].numel()
            gradient = F.pad(gradient.flatten(1), (0, unread)).view(buffer.shape)
        buffer.copy_(gradient)


def _convolve(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    geometry: Geometry,
) -> Tensor:
    tensors = widen(input, weight, _outside_if_nan(offset), mask, bias)
    return torch.ops.torchvision.deform_conv2d(*tensors, *geometry)


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    geometry: Geometry,
) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight, offset, mask and bias."""
    tensors = widen(grad_output, input, weight, _outside_if_nan(offset), mask, bias)
    gradients = torch.ops.torchvision._deform_conv2d_backward(*tensors, *geometry)
    _level_border(gradients[2], tensors[3], weight.shape[2:], geometry)
    return gradients


def _level_border(gradient: Tensor, offset: Tensor, kernel: torch.Size, geometry: Geometry) -> None:
    """Set the gradient of offsets to 0 along an axis on which their sample is at -1."""
    shape = (len(offset), geometry.offset_groups, *kernel, 2, *offset.shape[2:])
    gradient, offset = gradient.view(shape), offset.reshape(shape)
    for axis in (0, 1):
        stride, padding, dilation = geometry[axis:6:2]
        start = torch.arange(shape[5 + axis], device=offset.device) * stride - padding
        tap = torch.arange(kernel[axis], device=offset.device) * dilation
        place = tap[:, None] + start
        place = place[:, None, :, None] if axis == 0 else place[:, None]
        at = offset[:, :, :, :, axis] + place
        gradient[:, :, :, :, axis].masked_fill_(at == -1, 0)


def _fitted(
    offset: Tensor, mask: Tensor, weight: Tensor, offset_groups: int, output: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the offsets and masks in the shape of the output, as far as mmcv reads them.

    Raises:
        UserError: there are fewer than the output needs.
    """
    fitted = []
    taps = offset_groups * weight.shape[2:].numel()
    for name, values, channels in (('offset', offset, 2 * taps), ('mask', mask, taps)):
        shape = (len(output), channels, *output.shape[2:])
        count = math.prod(shape[1:])
        if len(values) != len(output) or values.shape[1:].numel() < count:
            raise UserError(
                f'modulated_deform_conv2d: {name} has the shape {tuple(values.shape)}; expected '
                f'{shape} for an output of {tuple(output.shape)}'
            )
        fitted.append(values.flatten(1)[:, :count].reshape(shape))
    return fitted[0], fitted[1]


def _outside_if_nan(offset: Tensor) -> Tensor:
    """Put samples whose place is not finite outside the map, as mmcv's kernels do.

    torchvision's would read from a random place of the memory, which ends the process.
    """
    return torch.nan_to_num(offset, nan=-1e4, posinf=1e4, neginf=-1e4)


def _no_mask_no_bias(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the placeholders that torchvision wants for an absent mask and bias."""
    return input.new_zeros((input.shape[0], 1)), _no_bias(weight)


def _no_bias(weight: Tensor) -> Tensor:
    return weight.new_zeros(weight.shape[0])
