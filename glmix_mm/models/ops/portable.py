"""Averages over the cells of a grid, in a form that other runtimes can run at any size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .switch import exporting


def adaptive_avg_pool2d(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Average a map over the bins of a grid, as ``torch.nn.functional.adaptive_avg_pool2d`` does.

    Runtimes have that operation for sizes that the grid divides, at best. The bins of rows and of
    columns are independent, so exported it is two products: A_rows x A_columns^T.

    Args:
        x: (N, C, h, w).
        grid: rows and columns of the grid.

    Returns:
        (N, C, rows, columns).
    """
    if not exporting():
        return F.adaptive_avg_pool2d(x, grid)
    rows, columns = (
        averaging_matrix(x, axis, bins) for axis, bins in zip((2, 3), grid, strict=True)
    )
    return rows @ (x @ columns.t())


def averaging_matrix(x: Tensor, axis: int, bins: int) -> Tensor:
    """Return the matrix (bins, n) that averages the n entries of an axis of ``x`` over its bins.

    Bin i holds the entries from floor(i * n / bins) to below ceil((i + 1) * n / bins).
    """
    size = x.shape[axis]
    entry = torch.arange(size, device=x.device)
    bin_ = torch.arange(bins, device=x.device).unsqueeze(1)
    # Both bounds without a division: j >= floor(a / b) is (j + 1) * b > a, j < ceil(a / b) is
    # j * b < a.
    inside = ((entry + 1) * bins > bin_ * size) & (entry * bins < (bin_ + 1) * size)
    inside = inside.to(x.dtype)
    return inside / inside.sum(1, keepdim=True)
