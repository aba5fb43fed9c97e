"""A hook that kills a process of a run, once."""

import os
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillOnce(Hook):
    """Ends a process with SIGKILL in the run's first attempt.

    Args:
        rank: of the process.
        step: after which it ends.
        saving: end it while this step's checkpoint is written, before the file gets its name.
    """

    priority = 'HIGHEST'

    def __init__(self, rank: int, step: int, saving: bool = False):
        self.rank, self.step, self.saving = rank, step, saving

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        mark = Path(runner.work_dir) / 'killed'
        if get_rank() != self.rank or runner.iter + 1 != self.step or mark.exists():
            return
        mark.touch()
        if not self.saving:
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
