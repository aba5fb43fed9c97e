"""Reads checkpoints without running code from them.

A checkpoint is a pickle, and a pickle can call any function. torch refuses all but plain
types (``weights_only``), among them some that mmengine's own checkpoints hold. Admitted here are
exactly those, and those in the authors' files, and none of them can do more than hold data.
"""

import functools
import os
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..errors import UserError
from .released_weights import SCHEME, find_release
from .storages import claimed_storages

CHUNK = 2**20  # bytes read at a time
HISTORY_METHODS = ('min', 'max', 'mean', 'current')
# The authors train under Hydra and save its settings beside the weights.
OMEGACONF = (
    'omegaconf.base.ContainerMetadata',
    'omegaconf.base.Metadata',
    'omegaconf.dictconfig.DictConfig',
    'omegaconf.listconfig.ListConfig',
    'omegaconf.nodes.AnyNode',
    'typing.Any',
)


class Ignored:
    """Replaces an object of a checkpoint that is not needed; keeps none of its content."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def plain_dict(default_factory: type | None = None) -> dict:
    """Replace ``collections.defaultdict``, which torch refuses to fill."""
    return {}


def history_method(owner: type, name: str):
    """Replace ``getattr`` in pickles of mmengine's log history, and nowhere else."""
    if owner is HistoryBuffer and name in HISTORY_METHODS:
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr of {owner!r}')


def admitted() -> list:
    """Return the types and functions that are admitted besides torch's own plain types."""
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    numpy_types = [np.dtype, np.ndarray, *{type(np.dtype(c)) for c in '?bBhHiIlLqQefdFDSU'}]
    types: list = [HistoryBuffer, Namespace, dict, list, int, *numpy_types]
    types += [(Ignored, name) for name in OMEGACONF]
    types.append((plain_dict, 'collections.defaultdict'))
    types += [(history_method, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    for package in ('numpy.core', 'numpy._core'):  # numpy 1 and 2
        types.append((reconstruct, f'{package}.multiarray._reconstruct'))
        types.append((scalar, f'{package}.multiarray.scalar'))
    return types


def read_checkpoint(path: str | Path, map_location='cpu', kind: str = 'checkpoint'):
    """Read a checkpoint file, or another that torch saved.

    Args:
        path: a local file.
        map_location: as in ``torch.load``.
        kind: what the file should be, for messages.

    Returns:
        What the file holds.

    Raises:
        UserError: there is no such file, it is truncated or no such thing, or it holds something
            that a checkpoint doesn't need. Nothing in it is run in any case.
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):  # which answers for impossible names as well
        raise UserError(f'{path.absolute()}: no such {kind} file')
    try:
        check_archive(path)
        content = torch.load(path, map_location=map_location, weights_only=True)
        check_claims(path)
        return content
    except UserError:
        raise
    except Exception as error:
        raise UserError(_explain(path, error, kind)) from error


def check_archive(path: Path) -> None:
    """Check what torch does not when it reads the zip archives that it saves.

    Its checksums tell of any changed bit; and since nothing in it is compressed, an archive that
    would take up more than it holds is none of torch's.

    Raises:
        UserError: it claims to hold more than the file's size, or two things by the same name.
        zipfile.BadZipFile: a checksum is wrong, or the archive is damaged.
    """
    if not zipfile.is_zipfile(path):  # older torch saved plain pickles, which have no checksums
        return
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise UserError(f'{path}: refused: its archive has two entries of the same name')
        claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > size:
            raise UserError(
                f'{path}: refused: it is an archive of {size:,} bytes that would take up '
                f'{claimed:,}; checkpoints are not compressed'
            )
        for entry in archive.infolist():
            if entry.CRC == 0:  # empty, or saved without checksums (torch can be told to)
                continue
            with archive.open(entry) as file:
                while file.read(CHUNK):
                    pass


def check_claims(path: Path) -> None:
    """Check that no tensor claims more than the file holds of it, as not every torch does.

    After torch has read the file, since its own messages tell more of what else may be wrong.

    Raises:
        ValueError: one does.
        Exception: of any other kind, if that cannot be found out.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for record, claimed, there in claimed_storages(archive):
            if claimed > there:
                raise ValueError(
                    f'{record} has {there:,} bytes of a tensor that claims {claimed:,}'
                )


def load_checkpoint(source: str) -> object:
    """Read a checkpoint from a local file, an address, or a ``glmix://`` name, to the CPU.

    Raises:
        UserError: as :func:`read_checkpoint`.
    """
    if source.startswith(SCHEME):
        return load_from_glmix(source)
    if '://' not in source:
        return read_checkpoint(source)
    with safe_in_mmengine():
        return CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')


def load_from_local(filename: str, map_location=None):
    """Read a local checkpoint for mmengine's ``CheckpointLoader``."""
    return read_checkpoint(filename, map_location)


def load_from_glmix(filename: str, map_location='cpu'):
    """Read a released checkpoint, ``glmix://NAME``, for mmengine's ``CheckpointLoader``."""
    return read_checkpoint(find_release(filename), map_location)


def forget_config(content: object) -> object:
    """Drop ``meta.config`` from a checkpoint, which mmengine's Runner would run to resume it.

    mmengine itself saves none; the config that it does save, as ``meta.cfg``, is only text to it.
    """
    meta = content.get('meta') if isinstance(content, dict) else None
    if isinstance(meta, dict):
        meta.pop('config', None)
    return content


def below_state_dict(content: object) -> object:
    """Put bare weights below ``state_dict``: mmengine's ``EMAHook`` looks for them there alone."""
    is_bare = isinstance(content, dict) and content and all(map(torch.is_tensor, content.values()))
    return dict(state_dict=content) if is_bare else content


def install() -> None:
    """Let torch read what mmengine and the authors save, and mmengine find ``glmix://`` names."""
    torch.serialization.add_safe_globals(admitted())
    CheckpointLoader.register_scheme(prefixes=SCHEME, loader=load_from_glmix, force=True)


@contextmanager
def safe_in_mmengine() -> Iterator[None]:
    """Let mmengine's Runner and inferencers read safely too: for the length of a command.

    Local files are read by :func:`read_checkpoint`, downloads with ``weights_only``, which
    torch.hub leaves out, and no config of a checkpoint is run.
    """
    original, load_url = vars(CheckpointLoader)['load_checkpoint'], mmengine_checkpoint.load_url
    load, local = CheckpointLoader.load_checkpoint, CheckpointLoader._schemes['']

    def load_without_config(*args, **kwargs):
        return below_state_dict(forget_config(load(*args, **kwargs)))

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.load_checkpoint = staticmethod(load_without_config)
    mmengine_checkpoint.load_url = functools.partial(load_url, weights_only=True)
    try:
        yield
    finally:
        CheckpointLoader.register_scheme(prefixes='', loader=local, force=True)
        CheckpointLoader.load_checkpoint = original
        mmengine_checkpoint.load_url = load_url


def _explain(path: Path, error: Exception, kind: str) -> str:
    text = re.sub(r'^\[enforce fail at [^]]*\] \. ', '', str(error))  # of torch's archive reader
    refused = re.search(r'GLOBAL ([\w.]+)', text)
    if isinstance(error, pickle.UnpicklingError) and refused:
        return (
            f'{path}: refused: it contains {refused[1]}, which can run code or is not needed in a '
            f'{kind}; nothing of it was run. If you trust its source, load it there with '
            f'torch.load(..., weights_only=False) and save its state dict alone'
        )
    detail = re.search(r'WeightsUnpickler error: (.+)', text) or re.match(
        r'(.*?)(?:\. |\n|$)', text
    )
    return (
        f'{path}: not a readable {kind} ({path.stat().st_size:,} bytes; '
        f'{type(error).__name__}: {detail[1]}); it may be truncated: copy or download it again'
    )
