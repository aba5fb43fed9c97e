"""Hooks that end a process of a run, or leave it no room to write, in the run's first attempt."""

import os
import resource
import signal
import time

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


def is_restarted() -> bool:
    """Return whether torchrun has started this process anew."""
    return os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'


@HOOKS.register_module()
class KillOnce(Hook):
    """Ends a process with SIGKILL.

    Args:
        rank: of the process.
        step: after which it ends.
        saving: end it while this step's checkpoint is written, before the file gets its name. The
            first process writes it: if another one ends, the first is slow then.
    """

    priority = 'HIGHEST'

    def __init__(self, rank: int, step: int, saving: bool = False):
        self.rank, self.step, self.saving = rank, step, saving

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if is_restarted() or runner.iter + 1 != self.step:
            return
        if self.saving and get_rank() == 0:
            self._replace, os.replace = os.replace, self._name_file
        elif get_rank() == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)

    def _name_file(self, *paths):
        if self.rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace = self._replace
        time.sleep(3)  # torchrun sees within 0.1 s that the other process has ended
        os.replace(*paths)


@HOOKS.register_module()
class FillDisk(Hook):
    """Lets no process write more than 1 MiB in a file, as on a full disk.

    Args:
        step: after which there is no room.
    """

    priority = 'HIGHEST'

    def __init__(self, step: int):
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
