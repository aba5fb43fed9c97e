"""Prints what a model costs: an aligned table, or a dict for json."""

from collections.abc import Iterator, Sequence

from .flops import MASKS, PROPOSALS, Count, Part


def giga(number: int | None) -> str:
    """Return a number of multiply-adds as '163.8 G', or '-' for None."""
    return '-' if number is None else f'{number / 1e9:.1f} G'


def mega(number: int) -> str:
    """Return a number of parameters as '27.0 M'."""
    return f'{number / 1e6:.1f} M'


def format_table(counts: Sequence[Count], attention_apart: bool = False) -> str:
    """Return one model's counts at one or more shapes as a table, one column a shape.

    Args:
        counts: of one model.
        attention_apart: whether a second column of each shape leaves out attention's products.
    """
    shapes = [f'{height} x {width}' for height, width in (count.shape for count in counts)]
    if attention_apart:
        shapes = [text for shape in shapes for text in (shape, 'no attention')]
    lines = [['', 'parameters', *shapes]]
    for rows in zip(*(_rows(count.model) for count in counts), strict=True):
        depth, part = rows[0]
        name = part.name if depth else f'{part.name} ({part.type})'
        figures = [giga(figure) for _, each in rows for figure in _figures(each, attention_apart)]
        lines.append(['  ' * depth + name, mega(part.parameters), *figures])
    return align_columns(lines)


def _figures(part: Part, attention_apart: bool) -> list[int | None]:
    if not attention_apart:
        return [part.multiply_adds]
    if part.multiply_adds is None:
        return [None, None]
    return [part.multiply_adds, part.multiply_adds - part.attention]


def align_columns(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '   '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def notes_on_counts(counts: Sequence[Count]) -> list[str]:
    """Return what a reader of the table should know, one sentence per line."""
    lines = ['Multiply-adds of matrix products and convolutions, one image at inference.']
    names = {part.name for _, part in _rows(counts[0].model)}
    if 'roi_head.bbox_head' in names:
        masks = f' and {MASKS} masks' if 'roi_head.mask_head' in names else ''
        lines.append(f'With {PROPOSALS} proposals{masks}.')
    if any(part.multiply_adds is None for _, part in _rows(counts[0].model)):
        lines.append('-: does not run at inference.')
    for item in dict.fromkeys(item for count in counts for item in count.not_counted):
        lines.append(f'Not counted: {item}.')
    for notice in dict.fromkeys(count.notice for count in counts if count.notice):
        lines.append(f'Run on the CPU: {notice}.')
    return lines


def counts_as_dict(counts: Sequence[Count]) -> dict:
    """Return one model's counts as a dict of plain numbers, strings and lists.

    ``shapes`` has [height, width] for each count. Every ``multiply_adds`` and ``attention`` (the
    share of attention's two products) is a list in the same order. Its entries are null for a part
    that does not run at inference.
    """
    return {
        'shapes': [list(count.shape) for count in counts],
        **_part([count.model for count in counts]),
        'not_counted': list(dict.fromkeys(item for count in counts for item in count.not_counted)),
        'notices': list(dict.fromkeys(count.notice for count in counts if count.notice)),
    }


def _part(parts: Sequence[Part]) -> dict:
    first = parts[0]
    inner = zip(*(part.parts for part in parts), strict=True)
    return {
        'name': first.name,
        'type': first.type,
        'parameters': first.parameters,
        'multiply_adds': [part.multiply_adds for part in parts],
        'attention': [part.attention for part in parts],
        'parts': [_part(each) for each in inner],
    }


def _rows(model: Part) -> Iterator[tuple[int, Part]]:
    """Yield every part with its depth, the whole model last."""
    yield from _inner(model.parts, 0)
    yield 0, model


def _inner(parts: Sequence[Part], depth: int) -> Iterator[tuple[int, Part]]:
    for part in parts:
        yield depth, part
        yield from _inner(part.parts, depth + 1)
