"""Finds the device that a command is to run on."""

import torch

from ..errors import UserError


def find_device(name: str | None, option: str = '--device ') -> torch.device:
    """Return the device of a name; by default CUDA's first one where there is one.

    Args:
        name: 'cpu', 'cuda' or 'cuda:N'.
        option: what the user gave it by, for messages.

    Raises:
        UserError: no such device.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = name or ('cuda' if found else 'cpu')
    kind, _, number = name.partition(':')
    if kind not in ('cpu', 'cuda') or (number and not number.isdigit()):
        raise UserError(f'{option}{name}: expected cpu, cuda or cuda:N')
    if kind == 'cuda' and int(number or 0) >= found:
        raise UserError(f'{option}{name}: torch finds {found} CUDA devices; use {option}cpu')
    return torch.device(name)


def best_dtype(device: str) -> torch.dtype:
    """Return the type to compute in: bfloat16 or float16 on CUDA, float32 on anything else."""
    if device != 'cuda':
        return torch.float32
    # Emulated bfloat16 (before Ampere) is slower than float32.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16
