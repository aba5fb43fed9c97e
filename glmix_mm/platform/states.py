"""Compares the tensors that a module expects with those that a checkpoint holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

SHOWN = 5  # names that a message lists of each kind


@dataclass(frozen=True)
class StateDifference:
    """How a checkpoint's tensors differ from the expected ones; false if they don't.

    Attributes:
        missing: expected names that the checkpoint lacks.
        unexpected: the checkpoint's names that are not expected.
        misshapen: ``NAME (3, 4) instead of (3, 5)`` for each tensor of another shape.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def describe(self) -> str:
        """Return one line with the number and the first names of each kind."""
        parts = []
        for kind in ('missing', 'unexpected', 'misshapen'):
            names = getattr(self, kind)
            if names:
                more = ', ...' if len(names) > SHOWN else ''
                parts.append(f'{len(names)} {kind} ({", ".join(names[:SHOWN])}{more})')
        return '; '.join(parts)


def compare_states(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    optional: Collection[str] = (),
) -> StateDifference:
    """Compare names and shapes.

    Args:
        expected: what the module has.
        found: what the checkpoint has.
        optional: expected names that may be missing.
    """
    return StateDifference(
        missing=tuple(key for key in expected if key not in found and key not in optional),
        unexpected=tuple(key for key in found if key not in expected),
        misshapen=tuple(
            f'{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}'
            for key in expected
            if key in found and found[key].shape != expected[key].shape
        ),
    )
