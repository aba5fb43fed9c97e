"""Exact forms, in elementary operations, of what other runtimes cannot run at any size.

Used in place of the fast forms while a model is exported (``torch.export``, ONNX), and only then.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Older versions of torch cannot tell; they train and test, but do not export.
exporting = getattr(torch.compiler, 'is_exporting', lambda: False)


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


def neighbour_attention(qkv: Tensor, head_dim: int, dilations: Sequence[int]) -> Tensor:
    """Compute :func:`~glmix_mm.models.dilated_attention.dilated_attention` from shifted maps.

    Args and result are the same, (N, h, w, 3C) to (N, h, w, C). It holds nine copies of the keys
    and of the values at a time.
    """
    parts = qkv.unflatten(3, (3, len(dilations), -1, head_dim))  # (N, h, w, 3, r, heads, d)
    groups = []
    for place, dilation in enumerate(dilations):
        query, key, value = parts[..., place, :, :].unbind(3)  # each (N, h, w, heads, d)
        keys, values = neighbours(key, dilation), neighbours(value, dilation)
        logits = (query.unsqueeze(-2) * keys).sum(-1, keepdim=True) * head_dim**-0.5
        groups.append((logits.softmax(-2) * values).sum(-2).flatten(3))
    return torch.cat(groups, 3)


def neighbours(x: Tensor, dilation: int) -> Tensor:
    """Gather the 3 x 3 neighbours of each position, row-major, zeros beyond the map's edges.

    Args:
        x: (N, h, w, heads, d).
        dilation: their spacing r.

    Returns:
        (N, h, w, heads, 9, d).
    """
    height, width = x.shape[1:3]
    padded = F.pad(x, [0, 0, 0, 0] + [dilation] * 4)
    shifted = [
        padded[:, row : row + height, column : column + width]
        for row in range(0, 3 * dilation, dilation)
        for column in range(0, 3 * dilation, dilation)
    ]
    return torch.stack(shifted, -2)
