"""A run's folder: one run at a time trains in it, and it knows which checkpoints are its own."""

import json
import os
import platform
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

FILE = 'run.json'  # the run that trained here last: its id, and its process, which locks the file
RUN_ID = 'run_id'  # what the message hub, and with it each checkpoint, calls the run's id


def new_run_id() -> str:
    """Return the id of a run that starts."""
    return uuid.uuid4().hex


def id_of(checkpoint: Mapping) -> str:
    """Return the id of the run that saved a checkpoint; '' if it says none, as older ones do."""
    found = checkpoint.get('message_hub', {}).get('runtime_info', {}).get(RUN_ID)
    return found if isinstance(found, str) else ''


def id_in(folder: str | Path) -> str:
    """Return the id of the run that started last in a folder; '' if it is not known."""
    return str(_read(Path(folder) / FILE).get(RUN_ID) or '')


def _read(path: Path) -> Mapping:
    try:
        found = json.loads(path.read_text(encoding='utf-8', errors='replace'))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


@contextmanager
def own_folder(folder: str | Path, run_id: str) -> Iterator[None]:
    """Mark a folder as that of a run, and keep others out while it trains.

    The system takes the lock back when the process ends, however it ends; forked processes do not
    hold it.

    Args:
        folder: the run's; it is there.
        run_id: the run's.

    Raises:
        UserError: another process trains in it.
    """
    path = Path(folder) / FILE
    with open(path, 'a+b') as file:
        try:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            owner = _read(path)
            who = 'another process'  # of one that starts right now, nothing is written yet
            if owner.get('process'):
                who = f'process {owner["process"]} on {owner.get("machine")}'
            raise UserError(
                f'{Path(folder).absolute()}: {who} trains in it; wait for it or stop it, or take '
                'another folder (--work-dir)'
            ) from None
        except OSError:  # a file system that has no locks
            pass
        owner = {RUN_ID: run_id, 'process': os.getpid(), 'machine': platform.node()}
        file.truncate(0)
        file.write(json.dumps(owner).encode() + b'\n')
        file.flush()
        yield
