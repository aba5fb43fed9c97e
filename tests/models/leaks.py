"""Measures whether resident memory grows from step to step; leaks_proof.py does so at length."""

import contextlib
import ctypes
import os
import random
from collections.abc import Callable

import torch
from families import build_small

LIMIT = 0.03  # growth of the memory in use after the settling steps


def resident() -> int:
    """Return this process's resident memory in bytes."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def in_use() -> int:
    """Return resident memory in bytes, once the C library has given back what is free of it."""
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL('libc.so.6').malloc_trim(0)
    return resident()


def growth(step: Callable[[int], object], steps: int, settled: int) -> float:
    """Run steps; return by which part the memory in use grew after the first of them.

    Args:
        step: takes its number.
        steps: how many.
        settled: after how many memory is first taken.
    """
    for number in range(settled):
        step(number)
    before = in_use()
    for number in range(settled, steps):
        step(number)
    return in_use() / before - 1


def backbone_steps(name: str, kind: str, training: bool, sides: tuple[int, int] = (64, 160)):
    """Return a step of a small backbone on images of changing sizes and batches."""
    torch.manual_seed(0)
    choose = random.Random(0)
    model = build_small(name, kind).train(training)
    optimizer = torch.optim.AdamW(model.parameters())

    def step(number: int) -> None:
        shape = (choose.randint(1, 3), 3, choose.randint(*sides), choose.randint(*sides))
        with torch.set_grad_enabled(training):
            loss = sum(level.square().mean() for level in model(torch.randn(shape)))
        if training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step
