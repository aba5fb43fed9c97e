"""Scaled dot-product attention over all tokens."""

from torch import Tensor
from torch.nn import functional as F

from .switch import is_plain


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(query key^T / sqrt(d)) value; each (N, heads, length, d)."""
    if is_plain():
        return plain_attention(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute :func:`attention` with the whole matrix of weights in memory."""
    logits = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    return logits.softmax(3).to(value.dtype) @ value
