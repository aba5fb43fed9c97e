"""Scaled cosine similarity of a map's tokens and the slots (GLMix)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import at_least_float32, no_autocast
from .switch import is_plain

EPS = 1e-12  # keeps the similarity of a zero vector finite


def cosine_logits(tokens: Tensor, slots: Tensor, scale: Tensor) -> Tensor:
    """Return scale * <t / |t|, s / |s|> for each token t and slot s.

    Args:
        tokens: (N, L, C).
        slots: (N, S, C).
        scale: ().

    Returns:
        (N, L, S), in float32 or above. The tokens' norms divide the products, so no normalised copy
        of the tokens is made.
    """
    with no_autocast(tokens):
        tokens, slots = at_least_float32(tokens), at_least_float32(slots)
        if is_plain():
            return plain_cosine_logits(tokens, slots, scale)
        scaled = F.normalize(slots, dim=2, eps=EPS) * scale
        norm = torch.linalg.vector_norm(tokens, dim=2, keepdim=True).clamp_min(EPS)
        return torch.bmm(tokens, scaled.transpose(1, 2)) / norm


def plain_cosine_logits(tokens: Tensor, slots: Tensor, scale: Tensor) -> Tensor:
    """Compute :func:`cosine_logits` from normalised copies of both."""
    tokens, slots = F.normalize(tokens, dim=2, eps=EPS), F.normalize(slots, dim=2, eps=EPS)
    return scale * tokens @ slots.transpose(1, 2)
