"""CARAFE (Wang et al. 2019, equation 4): upsampling with a kernel of its own for each output pixel.

mmcv has two forms with equal results: ``carafe_naive``, and ``carafe``, whose further buffers
hold copies with channels last. Here ``carafe`` keeps the features in one and ignores the others.
Both directions go through the taps of the kernel one by one, so no windows are held in memory.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from .widen import widen


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the upsampled features to ``output`` [N, C, scale * H, scale * W].

    Args:
        features: [N, C, H, W].
        masks: [N, group_size * kernel_size^2, scale * H, scale * W], the kernels.
        output: written.
        kernel_size: edge of the window of input pixels that an output pixel sums up; odd.
        group_size: groups of channels with kernels of their own.
        scale_factor: size of the output over that of the input.
    """
    values, kernels = widen(features, masks)
    kernels = _by_group(kernels, group_size, kernel_size**2)
    values = _by_group(_enlarged(values, kernel_size, scale_factor), group_size)
    total = values.new_zeros(_by_group(output, group_size).shape)
    for tap, window in _windows(values, kernel_size, scale_factor):
        total.addcmul_(window, kernels[:, :, tap])
    output.copy_(total.view(output.shape))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks to ``bottom_grad`` and ``mask_grad``."""
    gradient, values, kernels = widen(top_grad, features, masks)
    gradient = _by_group(gradient, group_size)
    kernels = _by_group(kernels, group_size, kernel_size**2)
    enlarged = _enlarged(values, kernel_size, scale_factor)
    values, totals = _by_group(enlarged, group_size), enlarged.new_zeros(enlarged.shape)
    of_kernels = kernels.new_empty(kernels.shape)
    pairs = zip(
        _windows(values, kernel_size, scale_factor),
        _windows(_by_group(totals, group_size), kernel_size, scale_factor),
        strict=True,
    )
    for (tap, window), (_, total) in pairs:
        of_kernels[:, :, tap] = (gradient * window).sum(2, keepdim=True)
        total.addcmul_(gradient, kernels[:, :, tap])
    mask_grad.copy_(of_kernels.view(mask_grad.shape))
    border = kernel_size // 2
    summed = F.avg_pool2d(totals, scale_factor, divisor_override=1)
    bottom_grad.copy_(F.pad(summed, [-border] * 4))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the same as :func:`carafe_naive_forward`, and the features to ``rfeatures``."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the same as :func:`carafe_naive_backward`; ``rfeatures`` is what forward left."""
    sizes = kernel_size, group_size, scale_factor
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, *sizes)


def _enlarged(values: Tensor, kernel_size: int, scale: int) -> Tensor:
    """Return the values with zeros around them, each repeated ``scale`` times along both axes."""
    padded = F.pad(values, [kernel_size // 2] * 4)
    return padded.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def _by_group(values: Tensor, *groups: int) -> Tensor:
    """Return [N, C, H, W] as [N, *groups, C / their product, H, W]."""
    n, _, h, w = values.shape
    return values.reshape(n, *groups, -1, h, w)


def _windows(enlarged: Tensor, kernel_size: int, scale: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each tap of the kernel and, as a view, the pixels that it reads for the output."""
    border = (kernel_size - 1) * scale
    height, width = enlarged.shape[-2] - border, enlarged.shape[-1] - border
    for tap in range(kernel_size**2):
        y, x = (place * scale for place in divmod(tap, kernel_size))
        yield tap, enlarged[..., y : y + height, x : x + width]
