"""Texts for messages: one line, printable, with a guess at what was meant."""

import difflib
from collections.abc import Iterable

LONGEST = 4000  # characters of a message


def one_line(error: BaseException) -> str:
    """Return an exception's message as one line.

    Of an exception that a data loader's worker raised, whose message is the worker's traceback,
    this is the last line.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if any(line.startswith('Original Traceback') for line in lines):
        lines = [lines[-1].removeprefix(f'{type(error).__module__}.{type(error).__qualname__}: ')]
    return printable(' '.join(lines))


def printable(text: str) -> str:
    """Return a text without control characters, which names in files may hold, and cut if long."""
    if len(text) > LONGEST:
        text = f'{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}'
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def did_you_mean(wanted: str, names) -> str:
    """Return '; did you mean A, B or C?' with the names most like the wanted one, or ''."""
    near = difflib.get_close_matches(wanted, sorted(names), n=3, cutoff=0.6)
    if not near:
        return ''
    return f'; did you mean {" or ".join(filter(None, [", ".join(near[:-1]), near[-1]]))}?'


def some(names: Iterable[str], limit: int = 5) -> str:
    """Return the first few names, quoted, and how many more there are."""
    names = list(names)
    shown = ', '.join(repr(name) for name in names[:limit])
    return shown + (f' and {len(names) - limit} more' if len(names) > limit else '')
