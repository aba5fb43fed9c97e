"""Compares the ablations of GLNet's paper: what each costs, and its published accuracy.

The classifiers of configs/ablation/, and those that they start from and end at, are built with
initial weights, counted, and timed in turn: a slow phase of the machine hits them all alike.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ..errors import UserError
from ..utils.devices import find_device
from ..utils.parsers import ablate_parser
from .benchmark import describe_machine
from .flops import count
from .measure import Row, Setup, measure, ready_models
from .model_list import load_model
from .report import headline, number
from .table import align_columns

BASE = 'imagenet/glnet_stl'
# The paper's ablation study and its steps from STL to 4G: what varies, and each choice's config.
STUDIES = {
    'branches': {
        'local and global': BASE,
        'local': 'ablation/glnet_stl_local_only',
        'global': 'ablation/glnet_stl_global_only',
    },
    'clustering': {
        'soft': BASE,
        'soft, from learned slots': 'imagenet/glnet_stl_paramslot',
        'k-means': 'ablation/glnet_stl_kmeans',
        'static slots': 'ablation/glnet_stl_static_slots',
    },
    'local kernel': {
        '3': 'ablation/glnet_stl_kernel3',
        '5': BASE,
        '7': 'ablation/glnet_stl_kernel7',
    },
    'slots': {
        '16': 'ablation/glnet_stl_slots16',
        '49': 'ablation/glnet_stl_slots49',
        '64': BASE,
        '100': 'ablation/glnet_stl_slots100',
    },
    'slot attention': {
        'on': BASE,
        'off': 'ablation/glnet_stl_no_slot_attention',
    },
    'STL to 4G': {
        'STL': BASE,
        '+ overlapping embeddings': 'ablation/glnet_stl_step1_ovlp',
        '+ hybrid stage 3': 'ablation/glnet_stl_step2_hybrid',
        '+ position encodings': 'ablation/glnet_stl_step3_cpe',
        '+ convolution in FFNs': 'ablation/glnet_stl_step4_mlp_dw',
        '+ deeper, narrower: 4G': 'imagenet/glnet_4g',
    },
}
# ImageNet-1K top-1 of the authors' model card, https://github.com/rayleizhu/GLMix#model-card. The
# other rows' are in the paper's tables, which no public text that was found quotes.
PUBLISHED = {BASE: 82.5, 'imagenet/glnet_stl_paramslot': 82.1, 'imagenet/glnet_4g': 83.7}
COLUMNS = ('', 'parameters', 'multiply-adds', 'images/s', 'ms', 'time', 'top-1, published')


class ChoiceCost(NamedTuple):
    """What a classifier costs.

    Attributes:
        parameters: their number, its last layer's included.
        multiply_adds: of one image at inference.
        row: its measured time.
    """

    parameters: int
    multiply_adds: int
    row: Row


def main(argv: Sequence[str]) -> None:
    """Count, time and print as the command line says.

    Raises:
        UserError: a mistake in the command line; or, once the table is printed, that some of the
            measurements failed.
    """
    args = ablate_parser().parse_args(argv)
    for option, value in (('--rounds', args.rounds), ('--batch-size', args.batch_size)):
        if value < 1:
            raise UserError(f'{option} {value}: must be at least 1')
    setup = Setup(find_device(args.device), rounds=args.rounds)
    names = list(dict.fromkeys(name for study in STUDIES.values() for name in study.values()))
    with contextlib.redirect_stdout(sys.stderr):
        costs = compare(names, tuple(args.shape), args.batch_size, setup)
    print(headline(setup, describe_machine(setup.device)), format_costs(costs), sep='\n\n')
    print('', *notes_on_studies(tuple(args.shape), args.batch_size), sep='\n', flush=True)
    failed = [name for name, cost in costs.items() if cost.row.timing.error]
    if failed:
        raise UserError(
            f'{len(failed)} of {len(costs)} measurements failed: {", ".join(failed)}; '
            f'{costs[failed[0]].row.timing.error}'
        )


def compare(
    names: Sequence[str], shape: tuple[int, int], batch_size: int, setup: Setup
) -> dict[str, ChoiceCost]:
    """Count and time the models of configs, all in turn.

    Args:
        names: of the configs.
        shape: height and width of the images, px.
        batch_size: images in a batch.
        setup: how they are run.
    """
    torch.manual_seed(0)
    models = {name: load_model(name) for name in names}
    counts = {name: count(model, shape).model for name, model in models.items()}
    multiply_adds = {name: part.multiply_adds for name, part in counts.items()}
    rows = measure(ready_models(models, setup), multiply_adds, shape, batch_size, setup)
    return {
        row.model: ChoiceCost(counts[row.model].parameters, row.multiply_adds, row) for row in rows
    }


def format_costs(costs: Mapping[str, ChoiceCost]) -> str:
    """Return the studies as one table, a row for each choice."""
    return align_columns(
        [
            COLUMNS,
            *(
                [f'{study}: {choice}', *_cells(costs[name], costs[BASE]), _accuracy(name)]
                for study, choices in STUDIES.items()
                for choice, name in choices.items()
            ),
        ]
    )


def _cells(cost: ChoiceCost, base: ChoiceCost) -> list[str]:
    seconds = cost.row.timing.median
    speed = ['failed', '-', '-']
    if seconds:
        relative = f'{seconds / base.row.timing.median:.2f} x' if base.row.timing.median else '-'
        speed = [number(cost.row.images_per_second), number(1000 * seconds), relative]
    return [f'{cost.parameters / 1e6:.2f} M', f'{cost.multiply_adds / 1e9:.2f} G', *speed]


def _accuracy(name: str) -> str:
    return f'{PUBLISHED[name]:.1f} %' if name in PUBLISHED else '-'


def notes_on_studies(shape: tuple[int, int], batch_size: int) -> list[str]:
    """Return what a reader of the table should know, one sentence per line."""
    return [
        f'Classifiers at {shape[0]} x {shape[1]}, {batch_size} in a batch; ms: of a batch, median '
        'of the rounds; time: over that of GLNet-STL.',
        'Multiply-adds: of matrix products and convolutions, one image at inference.',
        "Top-1: the authors', of ImageNet-1K, from their model card; -: not known here.",
    ]
