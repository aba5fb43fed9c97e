"""GLNet-4G beside its literal twin and other backbones: python tests/models/beside_others.py.

Inference and training steps of the backbone alone and of Mask R-CNN, for each batch size; made for
a GPU, in bfloat16 at 800 x 1280. Prints a table for each, and how GLNet-4G compares to the twin.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the golden numbers
sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # torch's profiler, which counts bytes, chats

import torch
from families import twin_of
from torch import nn

from glmix_mm.models import GLNet
from glmix_mm.profiling.benchmark import count_all, describe_machine, measure_all
from glmix_mm.profiling.measure import Row, Setup
from glmix_mm.profiling.model_list import load_model
from glmix_mm.profiling.report import format_rows, headline, notes_on_rows
from glmix_mm.utils.devices import find_device
from glmix_mm.utils.parsers import DTYPES

OURS, TWIN = 'GLNet-4G', 'literal GLNet-4G'
OTHERS = {  # by name: their channels
    'swin_t': (96, 192, 384, 768),
    'convnext_t': (96, 192, 384, 768),
    'pvtv2_b2': (64, 128, 320, 512),
}
DETECTOR = 'maskrcnn_glnet_4g_1x'


def backbones() -> dict[str, nn.Module]:
    """Return the backbones by name, the literal one with GLNet-4G's weights."""
    ours = GLNet('4g', output_norms=False)
    others = {name: load_model(name) for name in OTHERS}
    return {TWIN: twin_of('glnet', ours)[0].float(), OURS: ours} | others


def detectors() -> dict[str, nn.Module]:
    """Return Mask R-CNN on each of the backbones."""
    return {name: detector(name, backbone) for name, backbone in backbones().items()}


def detector(name: str, backbone: nn.Module) -> nn.Module:
    """Return Mask R-CNN on a backbone, the first layers of its neck made to fit."""
    model = load_model(DETECTOR)
    model.backbone = backbone
    if name in OTHERS:
        for channels, lateral in zip(OTHERS[name], model.neck.lateral_convs, strict=True):
            lateral.conv = nn.Conv2d(channels, lateral.conv.out_channels, 1)
    return model


def beside_the_twin(rows: Sequence[Row]) -> str:
    """Return how GLNet-4G's time and memory compare to its twin's, one line a batch size."""
    lines = []
    found = {(row.model, row.batch_size): row for row in rows if not row.timing.error}
    for _, size in filter(lambda key: key[0] == OURS, found):
        ours, twin = found[OURS, size], found.get((TWIN, size))
        if twin:
            ratio = twin.timing.median / ours.timing.median
            lines.append(
                f'Batch {size}: {ratio:.2f} x as fast as the literal one, '
                f'{ours.peak / twin.peak:.2f} of its memory.'
            )
    return '\n'.join(lines)


def tables(args: argparse.Namespace) -> Iterator[tuple[list[Row], str]]:
    """Yield what is measured and its table, each when its turn comes."""
    device, dtype, shape = find_device(args.device), getattr(torch, args.dtype), tuple(args.shape)
    for title, build in [('Backbone', backbones), ('Mask R-CNN', detectors)]:
        models = build()
        counts, missing = count_all(models, [shape])
        for mode in ('eval', 'train'):
            setup = Setup(device, dtype, mode, rounds=args.rounds)
            with contextlib.redirect_stdout(sys.stderr):
                rows = measure_all(models, counts, [shape], args.batch_size, setup)
            head = f'{title}; {headline(setup, describe_machine(device))}'
            parts = [
                head,
                format_rows(rows),
                *notes_on_rows(rows, missing),
                beside_the_twin(rows),
                '',
            ]
            yield rows, '\n'.join(parts)


def main() -> None:
    """Print the tables as they come; the status is 1 if a measurement failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')
    parser.add_argument('--dtype', choices=DTYPES, default='bfloat16')
    parser.add_argument('--shape', nargs=2, type=int, default=(800, 1280), metavar=('H', 'W'))
    parser.add_argument('--batch-size', nargs='+', type=int, default=(1, 8), metavar='N')
    parser.add_argument('--rounds', type=int, default=5)
    failed = 0
    for rows, text in tables(parser.parse_args()):
        print(text, flush=True)
        failed += sum(bool(row.timing.error) for row in rows)
    if failed:
        sys.exit(f'{failed} measurements failed')


if __name__ == '__main__':
    main()
