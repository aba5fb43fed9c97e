"""Where half precision would lose too much."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is in a half precision, else as it is."""
    return x.float() if x.dtype in HALF else x


def sum_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which to sum up values of ``x``: float32, or float64 for float64."""
    return torch.float32 if x.dtype in HALF else x.dtype


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Return a context in which products keep their operands' types, on the device of ``x``."""
    if not _is_autocast(x):  # exported, a context would be an operation
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def in_half(x: Tensor) -> bool:
    """Tell whether a convolution of ``x`` runs in half precision, by its type or by autocast."""
    return x.dtype in HALF or _is_autocast(x)


def _is_autocast(x: Tensor) -> bool:
    """Tell whether autocast is on where ``x`` is."""
    kind = x.device.type
    # Some devices, such as 'meta', have none.
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
