"""Prints what a benchmark measured: aligned tables, and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from .measure import MATRIX_SIZE, TRAINING, Row, Setup
from .table import align_columns, giga

MEASURED = ('model', 'shape', 'batch', 'images/s', 'ms', 'least', 'most', 'peak MiB')
COLUMNS = (*MEASURED, 'multiply-adds', 'of matrix rate')
MIB = 2**20
Series = tuple[str, int]  # a model and a batch size


def headline(setup: Setup, machine: dict) -> str:
    """Return what was measured on what, in a line."""
    dtype = str(setup.dtype).removeprefix('torch.')
    threads = f'{machine["threads"]} thread{"s" if machine["threads"] > 1 else ""}'
    where = f'{machine["machine"]}, {threads}, torch {machine["torch"]}'
    return f'{where}; {dtype}, {setup.mode}, {setup.execution}, {setup.rounds} rounds'


def format_rows(rows: Sequence[Row]) -> str:
    """Return measurements as a table, one row each."""
    return align_columns([COLUMNS, *map(_cells, rows)])


def _cells(row: Row) -> list[str]:
    shape = f'{row.shape[0]} x {row.shape[1]}'
    seconds = row.timing
    if seconds.error:
        return [row.model, shape, str(row.batch_size), 'failed', *'----', giga(None), '-']
    return [
        row.model,
        shape,
        str(row.batch_size),
        number(row.images_per_second),
        *(number(1000 * s) for s in (seconds.median, min(seconds.seconds), max(seconds.seconds))),
        f'{row.peak / MIB:.0f}',
        giga(row.multiply_adds),
        '-' if row.share is None else f'{row.share:.0%}',
    ]


def notes_on_rows(rows: Sequence[Row], missing: Mapping[tuple, Sequence[str]]) -> list[str]:
    """Return what a reader of the table should know, one sentence per line.

    Args:
        rows: what was measured.
        missing: by model and shape what its multiply-adds lack.
    """
    lines = [
        'ms: of a batch, median of the rounds, and the least and the most of them.',
        'Peak memory: above the weights and the images, in a run of its own.',
        'Multiply-adds: of one image at inference, before anything is fused.',
    ]
    rates = [row.matrix_rate for row in rows if row.matrix_rate]
    if rates:
        spread = ' to '.join(
            dict.fromkeys(f'{rate / 1e9:.0f} G' for rate in (min(rates), max(rates)))
        )
        lines.append(
            f'Matrix rate: {spread} multiply-adds per second, of the product of two matrices of '
            f'{MATRIX_SIZE} x {MATRIX_SIZE} in the same rounds.'
        )
    if any(row.passes == TRAINING for row in rows):
        lines.append(f'A training step is taken for {TRAINING} times the multiply-adds.')
    worked = [row for row in rows if not row.timing.error]
    items = (f'{r.model}: {item}' for r in worked for item in missing.get((r.model, r.shape), ()))
    lines += [f'Not counted: {item}.' for item in dict.fromkeys(items)]
    for row in rows:
        if row.timing.error:
            where = f'{row.shape[0]} x {row.shape[1]}, batch {row.batch_size}'
            lines.append(f'Failed: {row.model}, {where}: {row.timing.error}')
    return lines


def by_area(rows: Sequence[Row]) -> dict[Series, list[Row]]:
    """Return the measurements that did not fail of each model and batch size, by area."""
    series: dict[Series, list[Row]] = {}
    for row in sorted(rows, key=area):
        if not row.timing.error:
            series.setdefault((row.model, row.batch_size), []).append(row)
    order = list(dict.fromkeys((row.model, row.batch_size) for row in rows))
    return {key: series[key] for key in order if key in series}


def area(row: Row) -> int:
    """Return the pixels of an image."""
    return row.shape[0] * row.shape[1]


def format_growth(rows: Sequence[Row]) -> str:
    """Return how time, memory and multiply-adds grow with the image, '' for a single area."""
    lines = []
    for (model, batch_size), series in by_area(rows).items():
        areas = [area(row) for row in series]
        if len(set(areas)) < 2:
            continue
        values = {
            'time': [row.timing.median for row in series],
            'memory': [row.peak for row in series],
            'multiply-adds': [row.multiply_adds for row in series],
        }
        for quantity, numbers in values.items():
            if all(numbers):
                fitted = [f'{exponent:.2f}' for exponent in exponents(areas, numbers)]
                lines.append([model, str(batch_size), quantity, *fitted])
    if not lines:
        return ''
    head = ['model', 'batch', 'quantity', 'exponent', 'of the last two']
    note = 'Exponent p of area^p, fitted to all sizes, and between the two largest.'
    return '\n'.join([align_columns([head, *lines]), '', note])


def exponents(areas: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return p of values ~ area^p, of all areas and of the two largest, by least squares."""
    x, y = np.log(areas), np.log(values)
    largest = x >= np.unique(x)[-2]
    return float(np.polyfit(x, y, 1)[0]), float(np.polyfit(x[largest], y[largest], 1)[0])


def to_csv(rows: Sequence[Row], setup: Setup, machine: dict) -> str:
    """Return measurements as CSV, one row each; a cell is empty where there is no figure.

    Args:
        rows: what was measured.
        setup: how.
        machine: on what: its name, threads and torch's version.
    """
    common = dict(
        mode=setup.mode,
        execution=setup.execution,
        dtype=str(setup.dtype).removeprefix('torch.'),
        rounds=setup.rounds,
        **machine,
    )
    records = [_record(row) | common for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _record(row: Row) -> dict:
    failed, seconds = bool(row.timing.error), row.timing.seconds
    return dict(
        model=row.model,
        height=row.shape[0],
        width=row.shape[1],
        batch_size=row.batch_size,
        images_per_second='' if failed else f'{row.images_per_second:.6g}',
        ms='' if failed else f'{1000 * row.timing.median:.6g}',
        ms_least='' if failed else f'{1000 * min(seconds):.6g}',
        ms_most='' if failed else f'{1000 * max(seconds):.6g}',
        peak_mib='' if failed else f'{row.peak / MIB:.6g}',
        multiply_adds=row.multiply_adds,
        matrix_rate=row.matrix_rate and round(row.matrix_rate),
        share_of_matrix_rate='' if row.share is None else f'{row.share:.4g}',
        error=row.timing.error,
    )


def number(value: float) -> str:
    """Return a positive number with three digits at least: 1234, 123, 12.3, 1.23, 0.0123."""
    return f'{value:.0f}' if value >= 100 else f'{value:#.3g}'
