"""Keeps a command's screen to what its user has to see; all the rest is in the run's log file."""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from numbers import Real
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .progress import Progress, clock

# What a user cannot act on. Log lines: mmdet, mmseg and mmpretrain lack registries that mmengine
# has, and mmengine then takes its own; mmseg's metrics have no prefix; older names in mmengine.
HARMLESS = (
    'Failed to search registry with scope',
    'The prefix is not set in metric class',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)
# Beginnings of warnings, as regular expressions: older ways of mmseg and mmdet, the recipes' own
# choice of the loss, a machine without a GPU, layouts of gradients in several processes.
HARMLESS_WARNINGS = (
    '``build_loss`` would be deprecated',
    'torch.meshgrid: in an upcoming release',
    'Default ``avg_non_ignore`` is False',
    "'pin_memory' argument is set as true but no accelerator",
    'Grad strides do not match bucket view strides',
)


@contextlib.contextmanager
def harmless_hidden() -> Iterator[None]:
    """Hide the libraries' warnings that a user cannot act on; in logs they become debug lines."""
    make = logging.getLogRecordFactory()

    def make_record(name, level, path, line, message, *args, **kwargs):
        if str(message).startswith(HARMLESS):
            level = logging.DEBUG
        return make(name, level, path, line, message, *args, **kwargs)

    logging.setLogRecordFactory(make_record)
    try:
        with warnings.catch_warnings():
            for beginning in HARMLESS_WARNINGS:
                warnings.filterwarnings('ignore', beginning)
            yield
    finally:
        logging.setLogRecordFactory(make)


@RUNNERS.register_module()
class QuietRunner(Runner):
    """mmengine's Runner that prints warnings and tables of scores only; its log file has all."""

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        """Build mmengine's logger, and filter what goes to the screen."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_the_screen)
        return logger

    def dump_config(self) -> None:
        """Write the config beside the log, and leave the one that a training wrote above it."""
        self.cfg.dump(Path(self.log_dir) / Path(self.cfg.filename).name)


def _is_for_the_screen(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or '\n+--' in record.getMessage()


class ScoringProgressHook(Hook):
    """Shows on stderr how far a test is."""

    def before_test(self, runner: Runner) -> None:
        """Start the clock."""
        self._progress, self._start = Progress(sys.stderr), time.monotonic()

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Show the batch, the time passed and the time left."""
        if runner.rank == 0:
            done, total = batch_idx + 1, len(runner.test_dataloader)
            passed = time.monotonic() - self._start
            text = f'  batch {done}/{total}   passed {clock(passed)}'
            if done == total:
                self._progress.keep(text)
            else:
                self._progress.update(f'{text}   left {clock(passed / done * (total - done))}')


def score_table(cfg: Config, runner: Runner, scores: dict) -> str:
    """Return a test's scores, a line each, and where the log is."""
    count = len(runner.test_dataloader.dataset)
    lines = [f'{Path(cfg.filename).stem}, {cfg.load_from}, on {count} images']
    width = max(map(len, scores), default=0)
    for name, value in scores.items():
        shown = f'{value:.4f}' if isinstance(value, Real) else value
        lines.append(f'  {name:<{width}}  {shown}')
    return '\n'.join([*lines, f'Log: {runner.logger.log_file}'])
