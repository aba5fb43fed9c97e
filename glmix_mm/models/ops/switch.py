"""Which form of an operation runs: the fast one, or the plain one beside it.

Both give the same numbers within rounding. A runtime that a model is exported to knows elementary
operations alone, so an exported model takes forms of its own where it has to.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

VARIABLE = 'GLMIX_PLAIN'  # in the environment, 1 for the plain forms in a whole run

_plain = os.environ.get(VARIABLE, '') not in ('', '0')

# Older versions of torch cannot tell; they train and test, but do not export.
exporting = getattr(torch.compiler, 'is_exporting', lambda: False)


def is_plain() -> bool:
    """Return whether the plain forms run."""
    return _plain


@contextmanager
def plain(on: bool = True) -> Iterator[None]:
    """Compute with the plain forms within the context, or with the fast ones with ``on=False``."""
    global _plain
    before, _plain = _plain, on
    try:
        yield
    finally:
        _plain = before
