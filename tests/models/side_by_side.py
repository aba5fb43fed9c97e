"""Speed and memory beside the literal implementations.

    python tests/models/side_by_side.py [--cpu] [WORD]

Prints a row for each comparison (with WORD, for those whose title holds it): times alternate, the
median of the rounds counts. With ``--cpu`` they are the process's own on one thread, for a machine
that does other work as well.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # the golden numbers
sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # torch's profiler, which counts bytes, chats

import torch
from families import FAMILIES, twin_of
from torch import Tensor, nn

from glmix_mm.profiling.memory import peak_bytes
from glmix_mm.profiling.timing import time_in_turn

ROUNDS, THREADS = 5, 2


class Comparison(NamedTuple):
    """What to compare: two functions that do the same."""

    title: str
    literal: Callable[[], object]
    ours: Callable[[], object]


def pair(name: str, variant: str) -> tuple[nn.Module, nn.Module]:
    """Return a variant and its literal twin with the same weights, float32, eval mode."""
    model = FAMILIES[name].cls(variant).eval()
    return model, twin_of(name, model)[0].float().eval()


def forward(module: Callable, x: Tensor, dtype=torch.float32) -> Callable[[], object]:
    """Return a function that runs a module without gradients."""

    def run() -> None:
        half = dtype != torch.float32
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=half):
            module(x)

    return run


def backward(module: Callable, x: Tensor, dtype=torch.float32) -> Callable[[], object]:
    """Return a function that runs a module forward and backward, from the mean of its outputs."""

    def run() -> None:
        half = dtype != torch.float32
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            out = module(x)
        maps = [out] if isinstance(out, Tensor) else out
        sum(m.float().mean() for m in maps).backward()

    return run


def part_of_stage_1(title: str, name: str, variant: str, key: str) -> Comparison:
    """Compare the mixer of the first block on a map of an 800 x 1280 image, each in its layout.

    ``key`` is the literal mixer's name.
    """
    model, twin = pair(name, variant)
    x = torch.randn(1, model.out_channels[0], 200, 320)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    block = twin.network[0][0] if name == 'fcvit' else twin.stages[0].blocks[0]
    return Comparison(
        f'{title} of stage 1 at 800 x 1280, train',
        backward(getattr(block, key), x.requires_grad_()),
        backward(model.stages[0].blocks[0].mixer, channels_last.requires_grad_()),
    )


def comparisons() -> Iterator[Comparison]:
    """Yield all comparisons, each built when its turn comes."""
    half = torch.bfloat16
    large, small = torch.randn(1, 3, 800, 1280), torch.randn(1, 3, 512, 640)
    model, twin = pair('glnet', '4g')
    ours = model.forward_stages
    yield Comparison('GLNet-4G, eval, 800 x 1280', forward(twin, large), forward(ours, large))
    yield Comparison(
        'GLNet-4G, eval, 800 x 1280, bf16', forward(twin, large), forward(ours, large, half)
    )
    yield Comparison('GLNet-4G, train, 512 x 640', backward(twin, small), backward(ours, small))
    yield Comparison(
        'GLNet-4G, train, 512 x 640, bf16', backward(twin, small), backward(ours, small, half)
    )
    yield part_of_stage_1('DilateFormer-Tiny, dilated attention', 'dilateformer', 'tiny', 'attn')
    yield part_of_stage_1('FCViT-B12, token mixer', 'fcvit', 'b12', 'token_mixer')
    for title, name, variant in (
        ('DilateFormer-Tiny', 'dilateformer', 'tiny'),
        ('FCViT-B12', 'fcvit', 'b12'),
    ):
        model, twin = pair(name, variant)
        ours = model.forward_stages
        yield Comparison(f'{title}, eval, 800 x 1280', forward(twin, large), forward(ours, large))
        yield Comparison(f'{title}, train, 512 x 640', backward(twin, small), backward(ours, small))


def cpu_times(functions: list[Callable]) -> list[float]:
    """Return the median CPU seconds of each function, called in turn."""
    seconds = [[] for _ in functions]
    for _ in range(ROUNDS + 1):
        for function, each in zip(functions, seconds, strict=True):
            start = time.process_time()
            function()
            each.append(time.process_time() - start)
    return [statistics.median(each[1:]) for each in seconds]  # the first warms up


def main() -> None:
    """Print the table as it grows."""
    words = sys.argv[1:]
    own = '--cpu' in words
    word = next((word for word in words if word != '--cpu'), '')
    torch.set_num_threads(1 if own else THREADS)
    for title, literal, ours in comparisons():
        if word not in title:
            continue
        memory = [peak_bytes(run) / 2**20 for run in (literal, ours)]
        if own:
            slow, fast = (1000 * median for median in cpu_times([literal, ours]))
        else:
            slow, fast = (t.median * 1000 for t in time_in_turn([literal, ours], ROUNDS))
        print(
            f'{title}: literal {slow:.0f} ms, {memory[0]:.0f} MiB; '
            f'here {fast:.0f} ms, {memory[1]:.0f} MiB; '
            f'{slow / fast:.2f} x as fast, {memory[1] / memory[0]:.2f} of the memory',
            flush=True,
        )


if __name__ == '__main__':
    main()
