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
        UserError: unknown name, a missing or unknown attribute, or one without four entries of the
            right kind.
    """
    if isinstance(arch, str) and arch in variants:
        return variants[arch]
    if not isinstance(arch, Mapping):
        raise UserError(
            f'{family}: arch={arch!r} is none of {", ".join(variants)}, nor a dict of sizes'
        )
    example = next(iter(variants.values()))
    kind = type(example)
    known = {field.name for field in fields(kind)}
    required = {field.name for field in fields(kind) if field.default is MISSING}
    if set(arch) - known or required - set(arch):
        raise UserError(
            f'{family}: arch as a dict needs {sorted(required)} and may have '
            f'{sorted(known - required)}; found {sorted(arch)}'
        )
    settings = kind(**arch)
    for name in per_stage:
        _check_stages(family, name, getattr(settings, name), type(getattr(example, name)[0]))
    return settings


def _check_stages(family: str, name: str, entries: Sequence, kind: type) -> None:
    if not isinstance(entries, (list, tuple)) or len(entries) != STAGES:
        raise UserError(
            f'{family}: {name}={entries!r} of arch needs one entry for each of {STAGES} stages'
        )
    for entry in entries:
        if not isinstance(entry, kind) or (kind is int and entry < 1):
            expected = 'a whole number above 0' if kind is int else 'a name'
            raise UserError(f'{family}: {name}={entries!r} of arch: {entry!r} is not {expected}')
