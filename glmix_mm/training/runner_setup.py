"""Starts what mmengine's Runner needs around it: folders, and an eye on the disk."""

import copy
import errno
import itertools
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS, VISBACKENDS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..config.process_edits import fit_cpu, leave_out_synced_norms
from ..config.train_edits import rename_run
from ..errors import UserError
from ..utils.registry_errors import config_mistakes
from .checkpoint_hook import saved_checkpoints
from .schedule import fit_schedule

RUNS = itertools.count(1)  # runs in this process
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def build_runner(cfg: Config) -> Runner:
    """Make the work folder and build the runner.

    Raises:
        UserError: the work folder can't be written to, or the config has a mistake in it.
    """
    make_work_dir(cfg.work_dir)
    if cfg.launcher != 'none' and get_device() == 'cpu':
        fit_cpu(cfg)
        if leave_out_synced_norms(cfg):
            print_log('Batch norms are not synchronised: SyncBN needs GPUs.', logger='current')
    rename_run(cfg, next(RUNS))
    with config_mistakes(cfg.filename):
        runner = RUNNERS.build(cfg)
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream:
            handler.stream.reconfigure(encoding='utf-8')  # mmengine opens it in the locale's
    return runner


def build_all_parts(cfg: Config, gpus: int = 1) -> list[str]:
    """Build what training with a config builds, in a folder that then goes, and let go of it.

    Loaders, hooks, metrics, optimizer, schedules and visualizers: a wrong argument of any shows.

    Args:
        cfg: the whole config.
        gpus: for how many of them the run is planned.

    Returns:
        What is to be said of the schedule.

    Raises:
        UserError: a part cannot be built from its settings.
    """
    trial = copy.deepcopy(cfg)
    trial.load_from, trial.resume, trial.log_level = None, False, 'ERROR'
    backends = (trial.get('visualizer') or {}).get('vis_backends') or []
    with tempfile.TemporaryDirectory() as folder, config_mistakes(cfg.filename):
        for backend in backends:
            VISBACKENDS.build(dict(save_dir=folder, **backend))
        if backends:  # used, those of a service would begin a run there
            trial.visualizer.vis_backends = [dict(type='LocalVisBackend')]
        trial.work_dir = folder
        runner = build_runner(trial)
        parts = [runner.train_loop]  # each is built when it is first asked for
        parts.append(runner.build_optim_wrapper(runner.optim_wrapper))
        runner.optim_wrapper = parts[-1]
        notes = fit_schedule(runner, _epoch(runner.train_dataloader, gpus))
        if runner.param_schedulers:
            parts.append(runner.build_param_scheduler(runner.param_schedulers))
        if trial.get('val_cfg'):
            parts.append(runner.val_loop)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # builds its average when a run begins
                hook.before_run(runner)
        for handler in list(runner.logger.handlers):
            if isinstance(handler, logging.FileHandler):  # its folder goes
                runner.logger.removeHandler(handler)
                handler.close()
    return notes


def _epoch(loader: DataLoader, gpus: int) -> int:
    """Return the iterations of an epoch in which so many processes share the images."""
    batches = loader.batch_sampler
    share = math.ceil(len(batches.sampler) / gpus) / batches.batch_size
    return math.floor(share) if batches.drop_last else math.ceil(share)


def make_work_dir(work_dir: str) -> None:
    """Make the folder for logs and checkpoints.

    Raises:
        UserError: it can't be made or written to.
    """
    folder = Path(work_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'work_dir {folder.absolute()}: {error.strerror}') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f'work_dir {folder.absolute()}: no permission to write there')


@contextmanager
def disk_guard(work_dir: str) -> Iterator[None]:
    """Turn a full disk into a clear line that says what is left of the run.

    Raises:
        UserError: a file could not be written for lack of space.
    """
    # A log file that can't be written should not fill the screen: what matters will raise.
    raise_exceptions, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise UserError(_disk_report(error, Path(work_dir))) from error
    finally:
        logging.raiseExceptions = raise_exceptions


def _disk_report(error: OSError, folder: Path) -> str:
    where = Path(error.filename) if error.filename else folder
    existing = next(path for path in (where, *where.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**20
    kept = saved_checkpoints(folder)
    state = f'the last checkpoint, {kept[0]}, is intact' if kept else f'no checkpoint in {folder}'
    what = f'{where}' if error.filename else f'a file in {where}'
    return (
        f'cannot write {what}: {error.strerror} ({free:.1f} MiB free); {state}; make room and '
        'start again (training: with --resume)'
    )
