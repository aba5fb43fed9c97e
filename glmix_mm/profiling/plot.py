"""Draws what a benchmark measured: curves over the image's area, or bars for a single size."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from .measure import Row
from .report import MIB, area, by_area, number

# Okabe and Ito's colours, which the colour-blind tell apart, yellow left out for its low contrast;
# markers and line styles differ as well.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#000000', '#56B4E9', '#E69F00')
MARKERS = 'osD^vPX'
LINES = ('-', '--', ':')
QUANTITIES = (
    ('time per batch, ms', lambda row: 1000 * row.timing.median),
    ('peak memory, MiB', lambda row: row.peak / MIB),
)


def draw(rows: Sequence[Row], title: str) -> bytes:
    """Return a PNG of time and peak memory.

    Several areas make curves on logarithmic axes; a single one makes bars, one for each
    measurement. Failed measurements are left out, as the table names them.
    """
    rows = [row for row in rows if not row.timing.error]
    curves = len({area(row) for row in rows}) > 1
    height = 5 if curves else max(2.5, 1.2 + 0.35 * len(rows))
    figure = Figure(figsize=(11, height), layout='constrained')
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2, sharey=not curves)
    for axes, (label, value) in zip((left, right), QUANTITIES, strict=True):
        (_curves if curves else _bars)(axes, rows, value)
        (axes.set_ylabel if curves else axes.set_xlabel)(label)
    if curves:
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc='outside lower center', ncols=min(4, len(labels)))
    picture = io.BytesIO()
    figure.savefig(picture, format='png', dpi=120)
    return picture.getvalue()


def _curves(axes, rows: Sequence[Row], value) -> None:
    series = by_area(rows)
    batches = sorted({batch_size for _, batch_size in series})
    models = list(dict.fromkeys(model for model, _ in series))
    for (model, batch_size), points in series.items():
        index = models.index(model)
        axes.plot(
            [area(row) / 1e6 for row in points],
            [value(row) for row in points],
            label=model if len(batches) == 1 else f'{model}, batch {batch_size}',
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=LINES[batches.index(batch_size) % len(LINES)],
        )
    axes.set(xscale='log', yscale='log', xlabel='image area, megapixels')
    ticks = _ticks(sorted({area(row) / 1e6 for row in rows}))
    axes.set_xticks(ticks, [f'{tick:.2g}' for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter('{x:,g}')
    axes.grid(alpha=0.3)


def _ticks(areas: Sequence[float]) -> list[float]:
    """Leave out areas whose labels would touch the one before."""
    ticks = [areas[0]]
    for each in areas[1:]:
        if each > 1.2 * ticks[-1]:
            ticks.append(each)
    return ticks


def _bars(axes, rows: Sequence[Row], value) -> None:
    several = len({row.batch_size for row in rows}) > 1
    names = [f'{row.model}, batch {row.batch_size}' if several else row.model for row in rows]
    models = list(dict.fromkeys(row.model for row in rows))
    colours = [COLOURS[models.index(row.model) % len(COLOURS)] for row in rows]
    bars = axes.barh(range(len(rows)), [value(row) for row in rows], color=colours)
    axes.bar_label(bars, fmt=number, padding=3)
    axes.set_yticks(range(len(rows)), names)
    axes.margins(x=0.15)
    if not axes.yaxis_inverted():  # the axes share it
        axes.invert_yaxis()
