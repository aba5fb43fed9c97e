"""Variants of a family: looking one up by name, or checking one that a user states as a dict."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import TypeVar

from ..errors import UserError

STAGES = 4
Arch = TypeVar('Arch')


def resolve_arch(
    family: str, arch: str | Mapping, variants: Mapping[str, Arch], per_stage: Sequence[str]
) -> Arch:
    """Return the settings of a variant's name or of a dict of your own.

    Args:
        family: the family's name, for error messages.
        arch: a name, or a dict of the attributes of the family's dataclass; with ``base``, a name,
            it needs those attributes alone that differ from that variant's.
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
    own = dict(arch)
    base = own.pop('base', None)
    if base is not None and base not in variants:
        raise UserError(f'{family}: base={base!r} of arch is none of {", ".join(variants)}')
    known = {field.name for field in fields(kind)}
    required = set() if base else {f.name for f in fields(kind) if f.default is MISSING}
    if set(own) - known or required - set(own):
        needs = f'needs {sorted(required)}' if required else f'with base={base!r} needs nothing'
        raise UserError(
            f'{family}: arch as a dict {needs} and may have {sorted(known - required)}; '
            f'found {sorted(own)}'
        )
    settings = replace(variants[base], **own) if base else kind(**own)
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
