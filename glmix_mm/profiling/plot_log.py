"""Draws the curves of training runs: loss, learning rate and scores over the training steps."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..errors import UserError
from ..utils.atomic_files import write_atomically
from ..utils.parsers import plot_log_parser
from .plot import COLOURS, LINES, MARKERS

# mmengine's names -> what stands at the axis. What no run has is not drawn.
QUANTITIES = {
    'loss': 'loss',
    'lr': 'learning rate',
    'coco/bbox_mAP': 'box AP',
    'coco/segm_mAP': 'mask AP',
    'mIoU': 'mIoU, %',
    'accuracy/top1': 'top-1 accuracy, %',
}
IN_TRAINING = ('loss', 'lr')
LOG = '*/vis_data/scalars.json'

Curve = tuple[list[int], list[float]]  # steps and values


def main(argv: Sequence[str]) -> None:
    """Draw what the command line asks for.

    Raises:
        UserError: a folder without a log, a damaged log, or a file that cannot be written.
    """
    args = plot_log_parser().parse_args(argv)
    folders = [Path(name).expanduser() for name in args.work_dirs]
    names = [folder.absolute().name for folder in folders]
    runs = {
        name if names.count(name) == 1 else str(folder): read_log(folder)
        for name, folder in zip(names, folders, strict=True)
    }
    try:
        write_atomically(args.out, draw_curves(runs))
    except OSError as error:
        raise UserError(f'{args.out} cannot be written: {error.strerror}') from error
    print(args.out.absolute())


def read_log(folder: Path) -> dict[str, Curve]:
    """Read the curves of a run from the logs that mmengine wrote into its work folder.

    Where a run was resumed, the later log holds from its first step on. A score stands at the last
    training step logged before it.

    Args:
        folder: the work folder, with a folder for each start in it.

    Returns:
        Steps and values by mmengine's names, for those in ``QUANTITIES``.

    Raises:
        UserError: there is no log, or nothing to draw in it, or it is damaged.
    """
    logs = sorted(folder.glob(LOG))
    if not logs:
        raise UserError(
            f'{folder.absolute()}: no {LOG} in it; give the work folder of a training run'
        )
    points: dict[str, dict[int, float]] = {}
    for log in logs:
        entries = _entries(log)
        trained = [entry['step'] for entry in entries if 'loss' in entry]
        if not trained:
            continue
        for name, values in points.items():
            points[name] = {step: value for step, value in values.items() if step < trained[0]}
        step = 0
        for entry in entries:
            step = max(step, entry.get('step', 0))  # a score's own may be its epoch, or 0
            for name in QUANTITIES:
                if name in entry and (name not in IN_TRAINING or 'loss' in entry):
                    points.setdefault(name, {})[step] = entry[name]
    curves = {name: (list(values), list(values.values())) for name, values in points.items()}
    if not curves:
        raise UserError(f'{logs[-1]}: none of {", ".join(QUANTITIES)} was logged yet')
    return curves


def _entries(log: Path) -> list[dict]:
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):  # the last one may be in writing
                raise UserError(f'{log}:{number}: expected json, found {line[:40]!r}') from error
    return entries


def draw_curves(runs: Mapping[str, Mapping[str, Curve]]) -> bytes:
    """Return a PNG with a diagram for each quantity and a line for each run.

    Args:
        runs: of each run, by the name for the legend, its curves as :func:`read_log` returns them.
    """
    quantities = [name for name in QUANTITIES if any(name in curves for curves in runs.values())]
    columns = min(2, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = Figure(figsize=(5.5 * columns, 3.5 * rows + 0.3 * len(runs)), layout='constrained')
    for place, quantity in enumerate(quantities, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set(xlabel='training step', ylabel=QUANTITIES[quantity])
        axes.grid(alpha=0.3)
        if quantity == 'loss':
            axes.set_yscale('log')
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_major_formatter('{x:g}')
        for number, (name, curves) in enumerate(runs.items()):
            # A run without this quantity is in the legend all the same.
            axes.plot(*curves.get(quantity, ([], [])), label=name, **_style(number, quantity))
    figure.legend(*axes.get_legend_handles_labels(), loc='outside lower center', ncols=1)
    picture = io.BytesIO()
    figure.savefig(picture, format='png', dpi=120)
    return picture.getvalue()


def _style(number: int, quantity: str) -> dict:
    return dict(
        color=COLOURS[number % len(COLOURS)],
        marker=None if quantity in IN_TRAINING else MARKERS[number % len(MARKERS)],
        linestyle=LINES[number // len(COLOURS) % len(LINES)],
        markersize=5,
    )
