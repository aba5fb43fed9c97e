"""Annotation files that a command reads several times, parsed once.

The search for classes, the checks and the data set read the same json. COCO's largest takes 12 s.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..utils.collector import collection_paused

_kept: dict[tuple, Mapping] | None = None  # by file; None outside of `annotations_kept`


@contextmanager
def annotations_kept() -> Iterator[None]:
    """Keep what is parsed, within the context, for the next reader of the same file."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def parsed(path: str, parse: Callable[[], Mapping]) -> Mapping:
    """Return a file's content, which may not be changed: kept, or else as ``parse`` returns it."""
    with collection_paused():
        if _kept is None or not os.path.isfile(path):
            return parse()
        key = _key(path)
        if key not in _kept:
            _kept[key] = parse()
        return _kept[key]


def take_parsed(path: str) -> dict | None:
    """Return what is kept of a file, and let go of it; None if nothing is."""
    return _kept.pop(_key(path), None) if _kept else None


def forget_parsed() -> None:
    """Let go of what is kept."""
    if _kept:
        _kept.clear()


def _key(path: str) -> tuple:
    state = os.stat(path)
    return os.path.realpath(path), state.st_mtime_ns, state.st_size
