"""Compares the tensors that a module expects with those that a checkpoint holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

SHOWN = 5  # names that a message lists of each kind
# Attribute of a difference -> the word for it in messages.
KINDS = dict(
    missing='missing',
    unexpected='unexpected',
    misshapen='misshapen',
    mistyped='of another type',
    infinite='not finite',
)


@dataclass(frozen=True)
class StateDifference:
    """How a checkpoint's tensors differ from the expected ones; false if they don't.

    Attributes:
        missing: expected names that the checkpoint lacks.
        unexpected: the checkpoint's names that are not expected.
        misshapen: ``NAME (3, 4) instead of (3, 5)`` for each tensor of another shape.
        mistyped: ``NAME int64 instead of float32`` for each tensor of another kind of numbers.
        infinite: names of the tensors with values that are not finite.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    mistyped: tuple[str, ...]
    infinite: tuple[str, ...]

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)

    def describe(self) -> str:
        """Return one line with the number and the first names of each kind."""
        parts = []
        for kind, word in KINDS.items():
            names = getattr(self, kind)
            if names:
                more = ', ...' if len(names) > SHOWN else ''
                parts.append(f'{len(names)} {word} ({", ".join(names[:SHOWN])}{more})')
        return '; '.join(parts)


def compare_states(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    optional: Collection[str] = (),
) -> StateDifference:
    """Compare names, shapes and types, and look for values that are not finite.

    Floating-point types may differ: loading converts them.

    Args:
        expected: what the module has.
        found: what the checkpoint has.
        optional: expected names that may be missing.
    """
    shared = [key for key in expected if key in found]
    alike = [key for key in shared if found[key].shape == expected[key].shape]
    fitting = [key for key in alike if _is_convertible(found[key], expected[key])]
    return StateDifference(
        missing=tuple(key for key in expected if key not in found and key not in optional),
        unexpected=tuple(key for key in found if key not in expected),
        misshapen=tuple(
            f'{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}'
            for key in shared
            if found[key].shape != expected[key].shape
        ),
        mistyped=tuple(
            f'{key} {_type(found[key])} instead of {_type(expected[key])}'
            for key in alike
            if not _is_convertible(found[key], expected[key])
        ),
        infinite=tuple(key for key in fitting if not _stays_finite(found[key], expected[key])),
    )


def is_finite(tensor: Tensor) -> bool:
    """Tell whether all values of a tensor are finite."""
    if tensor.is_meta or tensor.layout != torch.strided or not tensor.is_floating_point():
        return True
    # No more values are looked at than are stored: an expanded tensor claims any number.
    return tensor.numel() > tensor.untyped_storage().nbytes() or bool(tensor.isfinite().all())


def _is_convertible(found: Tensor, expected: Tensor) -> bool:
    """Tell whether a tensor holds, in memory, the kind of numbers that is expected."""
    if found.layout != torch.strided or found.is_quantized or found.is_meta:
        return False
    if found.is_complex() != expected.is_complex():
        return False
    # Counters of batches are the only integers; files may save them as floats.
    return found.is_floating_point() or not expected.is_floating_point()


def _type(tensor: Tensor) -> str:
    name = str(tensor.dtype).removeprefix('torch.')
    if tensor.is_meta:
        return f'{name} without values'
    return name if tensor.layout == torch.strided else f'{name} ({tensor.layout})'


def _stays_finite(found: Tensor, expected: Tensor) -> bool:
    """Tell whether all values are finite in the type that they are loaded into."""
    return not found.is_floating_point() or is_finite(found.to(expected.dtype))


def is_state(value: object) -> bool:
    """Tell whether an object is a dict of tensors by their names."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) for key in value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )
