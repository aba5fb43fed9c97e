"""Checks that a checkpoint fits the config, before anything is loaded from it or runs."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

from ..errors import UserError
from ..utils.nested import unwrap
from ..utils.registry_errors import config_mistakes
from .compare_states import compare_states, is_state
from .record import describe_model, describe_origin, trained_meta
from .safe_reading import load_checkpoint

SHOWN = 5  # class names that a message lists


def read(path: str) -> dict:
    """Read a checkpoint: a local file, a URL, or a ``glmix://`` name.

    Raises:
        UserError: it is missing, truncated, refused as unsafe, or holds no dict.
    """
    content = load_checkpoint(path)
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected a dict of tensors, found {type(content).__name__}')
    return content


def weights_of(checkpoint: Mapping, path: str) -> dict[str, Tensor]:
    """Return the weights as mmengine will load them: under 'state_dict', or the dict itself.

    Raises:
        UserError: there are none in either place.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not is_state(state):
        raise UserError(
            f"{path}: no weights under 'state_dict' nor at the top level; it holds "
            f"{', '.join(map(str, checkpoint)) or 'nothing'}. A backbone's pretrained weights "
            'belong in model.backbone.init_cfg instead'
        )
    return {re.sub(r'^module\.', '', key): value for key, value in state.items()}


def check_fit(expected: Mapping[str, Tensor], checkpoint: Mapping, path: str, cfg: Config) -> None:
    """Check that a checkpoint holds exactly the model's tensors.

    Args:
        expected: the state dict of the config's model.
        checkpoint: the content of the file.
        path: the file, for messages.
        cfg: the config, for messages.

    Raises:
        UserError: it does not; the message tells what differs and what the checkpoint is of.
    """
    # mmengine ignores these counters; checkpoints of frozen batch norms may lack them.
    counters = [key for key in expected if key.endswith('num_batches_tracked')]
    state = weights_of(checkpoint, path)
    difference = compare_states(expected, state, optional=counters)
    if difference.unexpected:
        state = _without_second_names(state, expected)
        difference = compare_states(expected, state, optional=counters)
    if not difference:
        return
    origin = describe_origin(checkpoint)
    is_of = f'the checkpoint is of {origin}; ' if origin else ''
    raise UserError(
        f'{path} does not fit {cfg.filename} ({describe_model(cfg.model)}): '
        f'{difference.describe()}; {is_of}give the config that it was trained with'
    )


def _without_second_names(state: Mapping[str, Tensor], expected: Mapping) -> dict[str, Tensor]:
    """Leave out unexpected parts that only repeat an expected part under a second name.

    A model may give a part a second name when its weights are initialised, as mmdet's DDQ does. A
    tensor of one value, such as a bias of zeros, tells nothing by itself: it goes with its part.
    """

    def same(one: Tensor, other: Tensor | None) -> bool:
        alike = other is not None and (one.shape, one.dtype) == (other.shape, other.dtype)
        return alike and torch.equal(one, other)

    known = {key: tensor for key, tensor in state.items() if key in expected}
    names = {}  # the second name of a part -> the first
    for key, tensor in state.items():
        if key not in expected and tensor.numel() > 1 and not (tensor == tensor.flatten()[0]).all():
            first = next((own for own, other in known.items() if same(tensor, other)), '')
            if first:
                second, own = key.split('.'), first.split('.')
                while second and own and second[-1] == own[-1]:
                    second.pop(), own.pop()
                names['.'.join([*second, ''])] = '.'.join([*own, ''])
    repeats = {
        key
        for key, tensor in state.items()
        for second, first in names.items()
        if key not in expected
        and key.startswith(second)
        and same(tensor, known.get(first + key.removeprefix(second)))
    }
    return {key: tensor for key, tensor in state.items() if key not in repeats}


def check_overlap(
    expected: Mapping[str, Tensor], checkpoint: Mapping, path: str, cfg: Config
) -> str:
    """Return a line that says how much of a checkpoint given as ``load_from`` the model takes.

    Raises:
        UserError: nothing of it.
    """
    state = weights_of(checkpoint, path)
    difference = compare_states(expected, state)
    taken = len(expected) - len(difference.missing) - len(difference.misshapen)
    if difference.mistyped or difference.infinite:
        raise UserError(f'load_from={path}: {difference.describe()}')
    if not taken:
        raise UserError(
            f'load_from={path}: none of its {len(state)} tensors fits {cfg.filename} '
            f'({describe_model(cfg.model)}): {difference.describe()}'
        )
    rest = f'; {difference.describe()}' if difference else ''
    return f'{path}: {taken} of the {len(expected)} tensors of the model are loaded{rest}'


def check_classes(checkpoint: Mapping, path: str, cfg: Config, split: str) -> None:
    """Check that the model was trained for the classes of a data set.

    Args:
        checkpoint: the content of the file; one without ``meta`` passes.
        path: the file, for messages.
        cfg: the config.
        split: 'train', 'val' or 'test'.

    Raises:
        UserError: the classes or their order differ.
    """
    trained = trained_meta(checkpoint).get('classes')
    if trained is None:
        return
    dataset = next(unwrap(cfg[f'{split}_dataloader'].dataset))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with config_mistakes(cfg.filename):
        classes = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True)).metainfo.get('classes')
    if classes is None or list(classes) == list(trained):
        return
    raise UserError(
        f'{path} was trained for {_listing(trained)}, but {split}_dataloader.dataset of '
        f'{cfg.filename} has {_listing(classes)}{_first_difference(trained, classes)}; set the '
        'same classes in the same order (dataset.metainfo), or give a checkpoint trained on this '
        'data set'
    )


def note_of_classes(trained: Sequence[str], own: Sequence[str], name: str) -> str:
    """Say that a checkpoint's classes are not those of the test set of the config ``name``."""
    return (
        f'the checkpoint was trained for {_listing(trained)}, but test_dataloader.dataset of '
        f'{name} has {_listing(own)}{_first_difference(trained, own)}; results have the names of '
        'the checkpoint'
    )


def _first_difference(trained: Sequence[str], own: Sequence[str]) -> str:
    """Return where two lists of names differ first, or '' if one is longer."""
    if len(trained) != len(own):
        return ''
    pair = next((one, other) for one, other in zip(trained, own, strict=True) if one != other)
    return f'; the first difference: {pair[0]!r} there, {pair[1]!r} here'


def _listing(classes: Iterable[str]) -> str:
    names = list(classes)
    more = ', ...' if len(names) > SHOWN else ''
    return f'{len(names)} classes ({", ".join(names[:SHOWN])}{more})'
