"""GLNet-4G beside its literal twin and other backbones: python tests/models/beside_others.py.

Inference and training steps of the backbone alone and of Mask R-CNN, for each batch size; made for
a GPU, in bfloat16 at 800 x 1280. Prints a table for each, and how GLNet-4G compares to the twin.
"""

import argparse
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

from glmix_mm.analysis.benchmark import DTYPES, describe
from glmix_mm.analysis.contenders import load_model
from glmix_mm.analysis.flops import count
from glmix_mm.analysis.measure import Row, Setup, measure, prepare
from glmix_mm.analysis.report import format_rows, headline, remarks
from glmix_mm.engine.cli import find_device
from glmix_mm.models import GLNet

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
    """Return Mask R-CNN on a backbone, the first of its neck's layers made to fit."""
    model = load_model(DETECTOR)
    model.backbone = backbone
    for channels, lateral in zip(OTHERS.get(name, ()), model.neck.lateral_convs, strict=False):
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


def tables(args: argparse.Namespace) -> Iterator[str]:
    """Yield each table with its headline and remarks, measured when its turn comes."""
    device, dtype, shape = find_device(args.device), getattr(torch, args.dtype), tuple(args.shape)
    for title, build in [('Backbone', backbones), ('Mask R-CNN', detectors)]:
        models = build()
        counts = {name: count(model, shape) for name, model in models.items()}
        multiply_adds = {name: counted.model.multiply_adds for name, counted in counts.items()}
        missing = {(name, shape): counted.not_counted for name, counted in counts.items()}
        for mode in ('eval', 'train'):
            setup = Setup(device, dtype, mode, rounds=args.rounds)
            prepare(models, setup)
            rows = []
            for size in args.batch_size:
                rows += measure(models, multiply_adds, shape, size, setup)
            yield f'{title}; {headline(setup, describe(device))}'
            yield '\n'.join([format_rows(rows), *remarks(rows, missing), beside_the_twin(rows), ''])


def main() -> None:
    """Print the tables as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')
    parser.add_argument('--dtype', choices=DTYPES, default='bfloat16')
    parser.add_argument('--shape', nargs=2, type=int, default=(800, 1280), metavar=('H', 'W'))
    parser.add_argument('--batch-size', nargs='+', type=int, default=(1, 8), metavar='N')
    parser.add_argument('--rounds', type=int, default=5)
    for text in tables(parser.parse_args()):
        print(text, flush=True)


if __name__ == '__main__':
    main()
