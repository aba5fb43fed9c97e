"""Variants of a family: looking one up by name, or checking one that a user states as a dict."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TypeVar

from ..errors import UserError

STAGES = 4
Arch = TypeVar('Arch')


def resolve_arch(
    family: str, arch: str | Mapping, variants: Mapping[str, Arch], per_stage: Sequence[str]
) -> Arch:
    """Return the settings of a variant's name or of a dict of one's own.

    Args:
        family: the family's name, for error messages.
        arch: a name, or a dict of the attributes of the family's dataclass.
        variants: the family's variants by name.
        per_stage: the attributes that have one entry for each stage.

    Raises:
        UserError: unknown name, a missing or unknown attribute, or one without four entries.
    """
    if isinstance(arch, str):
        if arch not in variants:
            raise UserError(f'{family}: arch={arch!r} is none of {", ".join(variants)}')
        return variants[arch]
    kind = type(next(iter(variants.values())))
    known = {field.name for field in fields(kind)}
    required = {field.name for field in fields(kind) if field.default is MISSING}
    if set(arch) - known or required - set(arch):
        raise UserError(
            f'{family}: arch as a dict needs {sorted(required)} and may have '
            f'{sorted(known - required)}; found {sorted(arch)}'
        )
    settings = kind(**arch)
    for name in per_stage:
        if len(getattr(settings, name)) != STAGES:
            raise UserError(
                f'{family}: {name}={getattr(settings, name)} of arch needs one entry for each of '
                f'{STAGES} stages'
            )
    return settings


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Return the drop path rate of each block of each stage: from 0, linearly, to ``rate``."""
    count = sum(depths)
    rates = [rate * j / max(count - 1, 1) for j in range(count)]
    starts = [sum(depths[:i]) for i in range(len(depths))]
    return [rates[start : start + depth] for start, depth in zip(starts, depths, strict=True)]
