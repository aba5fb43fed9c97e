"""Where half precision would lose too much."""

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is in a half precision, else as it is."""
    return x.float() if x.dtype in HALF else x


def sum_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which to sum up values of ``x``: float32, or float64 for float64."""
    return torch.float32 if x.dtype in HALF else x.dtype
