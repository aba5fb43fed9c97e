"""The two halves of mmcv's MaskedConv2d, which convolves at some pixels only (no gradients)."""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the windows around the pixels to ``col``.

    Args:
        im: [1, C, H, W].
        mask_h_idx: [K], rows of the pixels.
        mask_w_idx: [K], columns.
        col: [C * kernel_h * kernel_w, K], written.
        kernel_h: rows of a window.
        kernel_w: columns.
        pad_h: rows of a window above its pixel.
        pad_w: columns left of it.
    """
    padded = F.pad(im[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    windows = col.view(len(padded), kernel_h, kernel_w, -1)
    for y in range(kernel_h):
        for x in range(kernel_w):
            windows[:, y, x] = padded[:, mask_h_idx + y, mask_w_idx + x]


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write the columns of ``col`` [C, K] to the pixels of ``im`` [1, C, H, W]."""
    im[0, :, mask_h_idx, mask_w_idx] = col
