"""Strips a training checkpoint to its backbone: what ``glmix publish`` calls."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..checkpoints.compare_states import compare_states
from ..checkpoints.fit import read
from ..checkpoints.record import model_settings
from ..errors import UserError
from ..models.backbone import PyramidBackbone
from ..models.pretrained import below, find_weights
from ..profiling.flops import EmptyOnMeta
from ..utils.atomic_files import write_atomically
from ..utils.messages import one_line
from ..utils.parsers import publish_parser
from ..version import __version__

DIGITS = 8  # of the SHA-256, as torch.hub's names have


def main(argv: Sequence[str]) -> None:
    """Publish as the command line says.

    Raises:
        UserError: a mistake in the arguments or the checkpoint.
    """
    args = publish_parser().parse_args(argv)
    path, count = publish(args.checkpoint, args.out)
    print(f'{path}: {count} tensors, {path.stat().st_size / 2**20:.1f} MiB')


def publish(checkpoint: str, out: str | Path) -> tuple[Path, int]:
    """Write the backbone of a training checkpoint to a file of its own.

    mmengine saves averaged weights, where there are any, as the model's own, so they are what is
    published. The file holds ``state_dict`` and ``meta``: type and arch of the backbone, version of
    this package, the config it was trained with. It can be read with torch's ``weights_only``.

    Args:
        checkpoint: a file that mmengine saved while it trained a model with one of the backbones.
        out: the file to write, ``NAME.pth``; it becomes ``NAME-SHA256.pth``.

    Returns:
        The file's path and its number of tensors.

    Raises:
        UserError: the checkpoint is missing, unsafe, not of one of this package's backbones, or
            does not hold exactly its tensors; or the file can't be written.
    """
    out = Path(out).expanduser()
    if out.suffix != '.pth':
        raise UserError(f'{out}: expected a name that ends in .pth')
    content = read(checkpoint)
    state, _ = find_weights(content, checkpoint)
    state = below(below(state, 'module.') or state, 'backbone.')
    meta = content.get('meta') if isinstance(content.get('meta'), Mapping) else {}
    settings = model_settings(meta).get('backbone') or {}
    _check(state, settings, checkpoint)
    record = dict(
        type=settings['type'],
        arch=settings.get('arch'),
        version=__version__,
        config=meta['cfg'],
        epoch=meta.get('epoch'),
        iter=meta.get('iter'),
    )
    buffer = io.BytesIO()
    # Copies: a view would be saved with all that it is a view of.
    torch.save(dict(meta=record, state_dict={k: v.clone() for k, v in state.items()}), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = out.with_name(f'{out.stem}-{digest[:DIGITS]}.pth')
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f'cannot write {path.absolute()}: {error.strerror}') from error
    return path, len(state)


def _check(state: Mapping[str, Tensor], settings: Mapping, source: str) -> None:
    """Check that the tensors are those of the backbone that the checkpoint's config states."""
    name = settings.get('type')
    kind = MODELS.get(name) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, PyramidBackbone):
        found = settings.get('type') or 'no config'
        raise UserError(
            f"{source}: its record names {found} as backbone, which is not one of this package's; "
            'expected a checkpoint that glmix train saved'
        )
    options = {key: value for key, value in settings.items() if key not in ('type', 'init_cfg')}
    try:
        with EmptyOnMeta():  # a record may claim any size
            expected = kind(**options).state_dict()
    except Exception as error:  # the record is not this program's
        raise UserError(
            f'{source}: its record describes no {name} ({type(error).__name__}: {one_line(error)})'
        ) from error
    difference = compare_states(expected, state)
    if difference:
        raise UserError(
            f'{source}: its tensors are not those of the {settings["type"]} in its record: '
            f'{difference.describe()}'
        )
