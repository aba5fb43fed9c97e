"""Compares an exported graph in ONNX Runtime with the module that it came from."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from ..profiling.timing import time_in_turn
from .graphs import Graph

TOLERANCE = 1e-4  # standard deviations of an output
ROUNDS = 5


class Exported:
    """An exported graph in ONNX Runtime, on the CPU, called as the module that it came from.

    Args:
        path: the .onnx file.
        threads: CPU threads; by default those that torch uses.
    """

    def __init__(self, path: Path, threads: int | None = None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )

    def __call__(self, *arguments) -> list[np.ndarray]:
        """Return the outputs for a module's arguments."""
        names = [entry.name for entry in self.session.get_inputs()]
        values = [tensor.numpy() for tensor in tree_leaves(arguments)]
        return self.session.run(None, dict(zip(names, values, strict=True)))


@torch.no_grad()
def difference(graph: Graph, run: Callable, arguments: tuple) -> float:
    """Return the largest difference of any output, in standard deviations of that output."""
    found = run(*arguments)
    expected = [tensor.numpy() for tensor in tree_leaves(graph.module(*arguments))]
    differences = [0.0]
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            raise RuntimeError(f'exported graph gives {one.shape}, the model {other.shape}')
        if other.size:
            differences.append(np.abs(one - other).max() / max(other.std(), 1e-12))
    return float(max(differences))


def check_outputs(graph: Graph, path: Path, other_sizes: Sequence[Sequence[int]] = ()) -> str:
    """Compare a file with its module on the example, and on images of other sizes.

    Returns:
        A line that says how far they differ.

    Raises:
        RuntimeError: by more than ``TOLERANCE``.
    """
    run = Exported(path)
    generator = torch.Generator().manual_seed(1)
    images = [(torch.randn(1, 3, *size, generator=generator),) for size in other_sizes]
    largest = max(difference(graph, run, arguments) for arguments in (graph.examples, *images))
    if largest > TOLERANCE:
        raise RuntimeError(
            f'{path}: ONNX Runtime differs from the model by {largest:.1e} standard deviations'
        )
    return f'  ONNX Runtime differs from torch by at most {largest:.1e} standard deviations'


@torch.no_grad()
def compare_latency(graph: Graph, path: Path, size: Sequence[int]) -> str:
    """Return a line with the medians of a few calls, in turn, on one image of a size in px."""
    image = torch.randn(1, 3, *size)
    calls = {'torch': graph.module, 'ONNX Runtime': Exported(path)}
    timings = time_in_turn([partial(call, image) for call in calls.values()], ROUNDS)
    parts = [
        f'{name} {1000 * timing.median:.0f} ms' for name, timing in zip(calls, timings, strict=True)
    ]
    threads = torch.get_num_threads()
    return f'  {size[0]} x {size[1]} px, {threads} CPU threads: {", ".join(parts)}'
