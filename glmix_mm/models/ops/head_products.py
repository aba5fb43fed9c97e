"""Products of each head's channels with one vector per image (FCViT's global context).

The fast forms are products with a block-diagonal matrix, (N, heads, C): no copy of the map.
"""

import torch
from torch import Tensor

from .precision import no_autocast
from .switch import is_plain


def compare_heads(tokens: Tensor, vector: Tensor, heads: int) -> Tensor:
    """Return <t[h], v[h]>, the product of each token's and the vector's channels of each head h.

    Args:
        tokens: (N, L, C).
        vector: (N, C), of the same type.
        heads: h; each has C / h channels, one after the other.

    Returns:
        (N, L, heads).
    """
    if is_plain():
        by_head = vector.unflatten(1, (heads, -1))[:, None]
        return (tokens.unflatten(2, (heads, -1)) * by_head).sum(3)
    return torch.bmm(tokens, block_diagonal(vector, heads).transpose(1, 2))


def add_by_head(tokens: Tensor, weights: Tensor, vector: Tensor) -> Tensor:
    """Return t[h] + w[h] v[h]: to each head's channels, the vector's, weighted by head.

    Args:
        tokens: (N, L, C).
        weights: (N, L, heads), of the same type.
        vector: (N, C), likewise.

    Returns:
        (N, L, C).
    """
    heads = weights.shape[2]
    if is_plain():
        by_head = vector.unflatten(1, (heads, -1))[:, None]
        return tokens + (weights[..., None] * by_head).flatten(2)
    with no_autocast(tokens):
        return torch.baddbmm(tokens, weights, block_diagonal(vector, heads))


def block_diagonal(vector: Tensor, heads: int) -> Tensor:
    """Spread (N, C) over the rows of (N, heads, C): each holds its head's channels, else 0."""
    n, dim = vector.shape
    blocks = torch.eye(heads, dtype=vector.dtype, device=vector.device).unsqueeze(2)
    return (blocks * vector.view(n, 1, heads, dim // heads)).view(n, heads, dim)
