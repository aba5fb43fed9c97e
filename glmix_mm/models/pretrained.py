"""Loads pretrained weights into a backbone, strictly: every tensor is accounted for."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ..checkpoints.compare_states import StateDifference, compare_states, is_state
from ..checkpoints.safe_reading import load_checkpoint
from ..errors import UserError

# Where checkpoints keep their weights, the better ones first (GLNet-16G's are its EMA).
CONTAINERS = ('model_ema', 'model', 'state_dict')
PREFIXES = ('module.', 'backbone.')
OUTPUT_NORM = r'norm\d\.'
# What classifiers hold besides the backbone: their last norm, their head, token labeling's head.
CLASSIFIER = ('norm.', 'head.', 'tklb_aux_head.')


class Rename(NamedTuple):
    """A regular expression on an official key and what replaces its first match."""

    pattern: str
    replacement: str


def load_pretrained(
    backbone: nn.Module,
    checkpoint: str,
    renames: Sequence[Rename] = (),
    prefix: str | None = None,
) -> str:
    """Load a checkpoint file into a backbone.

    Takes official classification checkpoints and this project's own, of backbones or of whole
    models: weights under 'model_ema', 'model', 'state_dict' or at the top, with or without the
    prefixes 'module.' and 'backbone.'. The tensors of a classifier are left out, and those of
    stages and outputs that the backbone does not have. Output norms keep their initial values if
    the file lacks them, because classifiers have none.

    Args:
        backbone: a :class:`~glmix_mm.models.backbone.PyramidBackbone`.
        checkpoint: a path, URL or ``glmix://`` name.
        renames: how official keys become this module's.
        prefix: take only the keys under this prefix; by default it is found.

    Returns:
        A line that says how many tensors were loaded from where and what was left out.

    Raises:
        UserError: the file is absent, unsafe or no checkpoint, or backbone tensors are missing,
            unexpected or misshapen (the message lists them). Nothing is loaded then.
    """
    content = load_checkpoint(checkpoint)
    state, container = find_weights(content, checkpoint)
    state = strip_prefixes(state, prefix, checkpoint)
    expected = backbone.state_dict()
    named = _own_names(state, renames, expected)
    norms = [key for key in expected if re.match(OUTPUT_NORM, key)]
    without_norms = not any(key in named for key in norms)
    optional = set(norms if without_norms else ())
    optional.update(key for key in expected if key.endswith('num_batches_tracked'))

    classifier = [key for key in named if key.startswith(CLASSIFIER)]
    unused = [key for key in named if _is_unused(key, backbone, expected)]
    for key in classifier + unused:
        del named[key]
    aligned = {key: align(value, expected.get(key)) for key, value in named.items()}
    difference = compare_states(expected, aligned, optional)
    if difference:
        strange = len(difference.unexpected) + len(difference.misshapen)
        matched = len(aligned) - strange - len(difference.mistyped)
        raise UserError(_mismatch(backbone, checkpoint, difference, matched))
    backbone.load_state_dict(aligned, strict=False)
    report = f'{checkpoint}: loaded {len(aligned)} of {len(expected)} tensors from {container}'
    if norms and without_norms:
        report += f'; {len(norms)} of the output norms keep their initial values'
    if classifier:
        report += f'; left out {len(classifier)} of the classifier'
    if unused:
        report += f'; left out {len(unused)} of stages or outputs that are not used'
    return report


def find_weights(content: object, source: str) -> tuple[Mapping[str, Tensor], str]:
    """Return a checkpoint's weights and the key under which they were found.

    Raises:
        UserError: there are no weights in it.
    """
    if isinstance(content, Mapping):
        for container in CONTAINERS:
            if is_state(content.get(container)):
                return content[container], repr(container)
        if is_state(content):
            return content, 'the top level'
    found = sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    raise UserError(
        f'{source}: no weights found; expected tensors under '
        f'{", ".join(map(repr, CONTAINERS))} or at the top level, found {found}'
    )


def strip_prefixes(
    state: Mapping[str, Tensor], prefix: str | None, source: str
) -> Mapping[str, Tensor]:
    """Return the backbone's tensors without the prefixes of wrappers and whole models.

    Raises:
        UserError: ``prefix`` is given and no key has it.
    """
    if prefix is not None:
        prefix = prefix.rstrip('.') + '.'
        inner = below(state, prefix)
        if not inner:
            raise UserError(f'{source}: no key begins with the prefix {prefix!r} of init_cfg')
        return inner
    for known in PREFIXES:  # a whole model's other parts (neck, heads) stay behind
        state = below(state, known) or state
    return state


def rename(key: str, renames: Sequence[Rename]) -> str:
    """Return this project's name of an official key."""
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key, count=1)
    return key


def _own_names(
    state: Mapping[str, Tensor], renames: Sequence[Rename], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Rename the tensors of an official checkpoint; leave those of one of this project's own.

    Decided for the file as a whole: the same key may mean different tensors in the two (FCViT's
    norm2 is that of its second output, ours that of the third), and not by its output norms.
    """
    official = any(
        key not in expected and rename(key, renames) in expected
        for key in state
        if not re.match(OUTPUT_NORM, key)
    )
    return {rename(key, renames) if official else key: value for key, value in state.items()}


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose keys begin with a prefix, under their keys without it."""
    return {key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)}


def _is_unused(key: str, backbone: nn.Module, expected: Mapping[str, Tensor]) -> bool:
    """Whether the key is of a later stage, or of an output's norm, that this backbone lacks."""
    stage = re.match(r'stages\.(\d)\.', key)
    norm = re.match(r'norm(\d)\.', key)
    return bool(
        (stage and int(stage[1]) >= len(backbone.stages))
        or (norm and f'norm{norm[1]}.weight' not in expected)
    )


def align(value: Tensor, expected: Tensor | None) -> Tensor:
    """Drop or add axes of one element: a linear layer stored as a 1 x 1 convolution, a scale."""
    if expected is None or value.shape == expected.shape:
        return value
    same = [n for n in value.shape if n != 1] == [n for n in expected.shape if n != 1]
    return value.reshape(expected.shape) if same else value


def _mismatch(backbone: nn.Module, source: str, difference: StateDifference, matched: int) -> str:
    name = backbone.name + (f'-{backbone.arch}' if isinstance(backbone.arch, str) else '')
    verdict = 'does not fit' if matched else 'matches nothing of'
    return (
        f'{source} {verdict} {name}: {difference.describe()}; '
        f'give the checkpoint of this variant, or choose arch to match the checkpoint'
    )
