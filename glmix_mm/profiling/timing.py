"""Times functions in turn, so that a slow phase of the machine hits them all alike."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from timeit import Timer

import torch
from torch.utils.benchmark import timer  # waits for CUDA devices

from ..errors import UserError
from ..utils.messages import one_line

MIN_SECONDS = 0.1  # a round calls a quick function as often as this takes, at most MAX_CALLS times
MAX_CALLS = 100


@dataclass
class Timing:
    """How long a function took.

    Attributes:
        seconds: of a call, one entry a round.
        error: why it failed; empty if it did not.
    """

    seconds: list[float] = field(default_factory=list)
    error: str = ''

    @property
    def median(self) -> float | None:
        """Return the median over the rounds, s; None after a failure."""
        return None if self.error else statistics.median(self.seconds)


def time_in_turn(
    functions: Sequence[Callable[[], object]], rounds: int, min_seconds: float = MIN_SECONDS
) -> list[Timing]:
    """Warm every function up, then time all of them once in each round.

    A function that fails is left out from then on; the others continue.

    Args:
        functions: what to time.
        rounds: how often.
        min_seconds: a round's call of a function is repeated until about this time is over.
    """
    timings = [Timing() for _ in functions]
    calls = []
    for function, timing in zip(functions, timings, strict=True):
        seconds = _time(function, timing, 1)
        if seconds is not None and seconds < 1:  # the first call may have set things up
            seconds = _time(function, timing, 1)
        repeats = math.ceil(min_seconds / max(seconds or math.inf, 1e-9))
        calls.append(min(max(repeats, 1), MAX_CALLS))
    for _ in range(rounds):
        for function, timing, repeats in zip(functions, timings, calls, strict=True):
            if not timing.error:
                seconds = _time(function, timing, repeats)
                timing.seconds += [] if seconds is None else [seconds]
    return timings


def reason(error: Exception) -> str:
    """Return in one line why something failed."""
    message = one_line(error)
    return message if isinstance(error, UserError) else f'{type(error).__name__}: {message}'


def _time(function: Callable[[], object], timing: Timing, repeats: int) -> float | None:
    """Return the seconds of one call, or note in ``timing`` why it failed."""
    try:
        return Timer(function, timer=timer).timeit(repeats) / repeats
    except Exception as error:  # out of memory, an image too small, an operator that is missing
        timing.error = reason(error)
    # Here the error's frames, and the tensors in them, are gone.
    torch.cuda.empty_cache()
    return None
