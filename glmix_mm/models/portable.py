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
    maps = qkv.permute(0, 3, 1, 2).chunk(3, 1)
    groups = zip(dilations, *(map_.chunk(len(dilations), 1) for map_ in maps), strict=True)
    results = []
    for dilation, query, key, value in groups:
        heads = key.shape[1] // head_dim
        query = query.unflatten(1, (heads, head_dim, 1))  # (N, heads, d, 1, h, w)
        keys, values = (
            neighbours(x, dilation).unflatten(1, (heads, head_dim, 9)) for x in (key, value)
        )
        logits = (query * keys).sum(2, keepdim=True) * head_dim**-0.5  # (N, heads, 1, 9, h, w)
        results.append((logits.softmax(3) * values).sum(3).flatten(1, 2))
    return torch.cat(results, 1).permute(0, 2, 3, 1)


def neighbours(x: Tensor, dilation: int) -> Tensor:
    """Gather the 3 x 3 neighbours of each position, row-major, zeros beyond the map's edges.

    Each is a convolution whose kernel has a single 1.

    Args:
        x: (N, C, h, w).
        dilation: their spacing r.

    Returns:
        (N, 9C, h, w), the nine of a channel together.
    """
    dim = x.shape[1]
    kernel = torch.eye(9, dtype=x.dtype, device=x.device).view(9, 1, 3, 3).repeat(dim, 1, 1, 1)
    return F.conv2d(x, kernel, padding=dilation, dilation=dilation, groups=dim)
