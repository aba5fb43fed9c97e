"""Measures speed and peak memory of backbones and whole models, side by side."""

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..utils.atomic_files import write_atomically
from ..utils.devices import find_device
from ..utils.parsers import SCALING, benchmark_parser
from .flops import count
from .measure import Row, Setup, measure, ready_models
from .model_list import load_models
from .report import format_growth, format_rows, headline, notes_on_rows, to_csv

SHAPES = ((800, 1280),)


def main(argv: Sequence[str]) -> None:
    """Measure what the command line asks for.

    Raises:
        UserError: a mistake in the command line, which is found before anything is measured; or,
            once all figures are printed and written, that some of the measurements failed.
    """
    args = benchmark_parser().parse_args(argv)
    setup = _setup(args)
    _check_files(args)
    # Else torch's profiler, which measures memory, chats on stderr.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    squares = [(side, side) for side in SCALING]
    shapes = squares if args.scaling else [tuple(shape) for shape in args.shape or SHAPES]
    with _threads(args.threads), contextlib.redirect_stdout(sys.stderr):
        models = load_models(args.models)
        counts, missing = count_all(models, shapes)
        rows = measure_all(models, counts, shapes, args.batch_size, setup, args.csv)
        machine = describe_machine(setup.device)
    head = headline(setup, machine)
    parts = [head, format_rows(rows), '\n'.join(notes_on_rows(rows, missing)), format_growth(rows)]
    text = '\n\n'.join(filter(None, parts))
    print(text, flush=True)
    if args.out:
        _write(args.out, f'{text}\n'.encode())
    failed = [row for row in rows if row.timing.error]
    if args.png and len(failed) < len(rows):
        from .plot import draw

        _write(args.png, draw(rows, head))
    if failed:
        raise UserError(
            f'{len(failed)} of {len(rows)} measurements failed: '
            + ', '.join(dict.fromkeys(row.model for row in failed))
        )


def describe_machine(device: torch.device) -> dict:
    """Return the machine's name, its threads in use and torch's version."""
    cuda = device.type == 'cuda'
    name = torch.cuda.get_device_name(device) if cuda else _processor()
    return dict(machine=name, threads=torch.get_num_threads(), torch=torch.__version__)


def _processor() -> str:
    with contextlib.suppress(OSError):  # Linux alone has this file
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            key, _, value = line.partition(':')
            if key.strip() == 'model name':
                return value.strip()
    return platform.processor() or platform.machine()


def _setup(args: argparse.Namespace) -> Setup:
    numbers = [('--rounds', [args.rounds]), ('--batch-size', args.batch_size)]
    numbers += [('--shape', shape) for shape in args.shape or ()]
    numbers += [] if args.threads is None else [('--threads', [args.threads])]
    for option, values in numbers:
        if min(values) < 1:
            raise UserError(f'{option} {" ".join(map(str, values))}: must be at least 1')
    device = find_device(args.device)
    return Setup(device, getattr(torch, args.dtype), args.mode, args.execution, args.rounds)


def _check_files(args: argparse.Namespace) -> None:
    """Find out before hours of measuring, not after."""
    for path in filter(None, (args.csv, args.png, args.out)):
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UserError(
                f'{path} cannot be written: it is a folder, or {folder} cannot be written to'
            )


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_all(
    models: Mapping[str, nn.Module], shapes: Sequence[tuple[int, int]]
) -> tuple[dict, dict]:
    """Return multiply-adds, and what they lack, by model and shape."""
    counts, missing = {}, {}
    for name, model in models.items():
        for shape in shapes:
            try:
                counted = count(model, shape)
            except UserError as error:
                counts[name, shape], missing[name, shape] = None, (str(error),)
            else:
                counts[name, shape] = counted.model.multiply_adds
                missing[name, shape] = counted.not_counted
    return counts, missing


def measure_all(
    models: Mapping[str, nn.Module],
    counts: Mapping,
    shapes: Sequence[tuple[int, int]],
    batch_sizes: Sequence[int],
    setup: Setup,
    csv: Path | None = None,
) -> list[Row]:
    """Prepare models and measure them at all shapes and batch sizes.

    Args:
        models: by name.
        counts: their multiply-adds by name and shape.
        shapes: height and width of images, px.
        batch_sizes: images in a batch.
        setup: how they are run.
        csv: where what is measured so far is written each time.
    """
    if setup.device.type == 'cuda' and setup.dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False  # as for matrix products: float32 is float32
    models = ready_models(models, setup)
    machine = describe_machine(setup.device)
    rows = []
    for shape in shapes:
        multiply_adds = {name: counts[name, shape] for name in models}
        for batch_size in batch_sizes:
            print(f'measuring {shape[0]} x {shape[1]}, batch {batch_size}', flush=True)
            rows += measure(models, multiply_adds, shape, batch_size, setup)
            if csv:
                _write(csv, to_csv(rows, setup, machine).encode())
    return rows


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error
