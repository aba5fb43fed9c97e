"""Atomic writes: a file is there in full or not at all, whatever interrupts the writer."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.fileio.io import backend_instances

ATOMIC = 'glmix_atomic'  # name of the file backend
TEMPORARY = '.{name}.????????'  # what a write to a file of this name is called until it is whole


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file in the same folder.

    Raises:
        OSError: the disk is full, or the folder can't be written to; it names ``path``. The
            temporary file is removed, and what stood at ``path`` before is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write names no file by itself
        raise


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with atomic writes."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text."""
        write_atomically(filepath, obj.encode(encoding))


register_backend(ATOMIC, AtomicLocalBackend, force=True)


@contextmanager
def atomic_in_mmengine() -> Iterator[None]:
    """Let mmengine write all its local files atomically: for the length of a command."""
    _use_for_local_files(AtomicLocalBackend)
    try:
        yield
    finally:
        _use_for_local_files(LocalBackend)


def _use_for_local_files(backend: type[LocalBackend]) -> None:
    register_backend('local', backend, force=True, prefixes='')
    backend_instances.clear()  # those of before


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
