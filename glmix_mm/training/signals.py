"""SIGTERM and Ctrl-C: training ends its step, saves, and prints the command that continues."""

import math
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop

from ..utils.commands import spelled
from .checkpoint_hook import SafeCheckpointHook
from .exact_loops import DONE_IN_EPOCH
from .launchers import is_first

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PERIOD = 10  # steps between the questions to the other processes whether one was told to stop


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; the message says where it stands, in one process of several.

    Attributes:
        signum: the signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


class Signals:
    """Keeps a signal until the step under way is done.

    Args:
        alone: whether there is no other process.
        speaks: whether this process is the one that says what happens.

    Attributes:
        received: the signal that came first, or 0.
        training: whether there is a step to wait for; if not, a signal ends the run at once.
    """

    def __init__(self, alone: bool, speaks: bool = True):
        self.received = 0
        self.training = False
        self._alone = alone
        self._speaks = speaks

    def __call__(self, signum: int, frame) -> None:
        """Handle a signal.

        Raises:
            Interrupted: there is no step to wait for, or this is the second Ctrl-C.
        """
        name = signal.Signals(signum).name
        forking = _forks.mask is not None  # what a hook of a fork raises is lost
        if not self.training and not forking:
            said = f'stopped by {name} before the first step' if self._speaks else ''
            raise Interrupted(said, signum)
        # torchrun repeats a Ctrl-C that the terminal has sent already.
        if self.received and signum == signal.SIGINT and self._alone and not forking:
            raise Interrupted('stopped at once by a second Ctrl-C; nothing was saved', signum)
        if not self.received and self._speaks:
            when = 'after this step' if self._alone else 'with the other processes, in a few steps'
            # Not print: the signal may have come in the middle of one.
            os.write(2, f'{name}: stopping {when}\n'.encode())
        self.received = self.received or signum


class Forks(threading.local):
    """Lets the processes that a training forks do without its signal handlers.

    Python passes over the signals that reach a forked process before its first line has run, and
    ``multiprocessing.Pool`` ends its processes with SIGTERM whatever they do: one that passes over
    it is waited for without end. So a thread that forks blocks the signals, and the new process
    takes them again once it has its own handlers: for SIGTERM the one from before the training.
    Ctrl-C, which a terminal sends to all processes, is the training's: a pool would wait without
    end for the result of a process that it ended.

    Attributes:
        mask: the signals that this thread had blocked before the fork under way, or None.
    """

    before = None  # the handlers from before the training, of all threads; None without one
    registered = False
    mask = None

    def install(self, before: dict) -> None:
        """From now on there is a training; handlers of forks can't be removed, only do nothing."""
        if hasattr(os, 'register_at_fork') and not Forks.registered:
            os.register_at_fork(
                before=self.block, after_in_parent=self.unblock, after_in_child=self.reset
            )
            Forks.registered = True
        Forks.before = before

    def block(self) -> None:
        """Before a fork."""
        if Forks.before is not None:
            self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def unblock(self) -> None:
        """After a fork."""
        if self.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            self.mask = None

    def reset(self) -> None:
        """Set the new process's handlers, before any signal can reach it."""
        if self.mask is not None and Forks.before is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, Forks.before[signal.SIGTERM])
            Forks.before = None
        self.unblock()


_forks = Forks()


@contextmanager
def kept_signals(launcher: str) -> Iterator[Signals]:
    """Keep SIGTERM and Ctrl-C for :class:`InterruptHook`, in the main thread at least.

    Args:
        launcher: what started the processes; 'none' for a process on its own.
    """
    signals = Signals(launcher == 'none', is_first(launcher))
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {signum: signal.getsignal(signum) or signal.SIG_DFL for signum in SIGNALS}
    _forks.install(before)
    try:
        for signum in SIGNALS:
            signal.signal(signum, signals)
        yield signals
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        Forks.before = None


class InterruptHook(Hook):
    """Saves and stops once a signal was received: after the step, or within the validation.

    Several processes stop after the same step, and not within a validation.

    Args:
        signals: what was received.
    """

    priority = 'LOWEST'

    def __init__(self, signals: Signals):
        self.signals = signals

    def before_train(self, runner) -> None:
        """From now on there is a step to wait for."""
        self.signals.training = True

    def after_train(self, runner) -> None:
        """There is none any more."""
        self.signals.training = False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Save and stop, if a signal was received.

        Raises:
            Interrupted: it was.
        """
        done = runner.iter + 1
        # Gradients that wait for more of them are not saved.
        period = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if runner.distributed:
            period *= math.ceil(PERIOD / period)
        if done % period and done < runner.max_iters:
            return
        if self._agreed(runner):
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            progress = dict(epoch=runner.epoch, iter=done)
            self._stop(runner, progress, batch_idx + 1 if by_epoch else 0)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Save and stop, if a signal was received; going on will validate again.

        Raises:
            Interrupted: it was.
        """
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        # mmpretrain's may be in its second round, with the model's own weights.
        unclear = any(getattr(hook, 'evaluate_on_origin', False) for hook in averages)
        if runner.distributed or unclear or not self.signals.received:
            return
        for hook in averages:
            if getattr(hook, 'evaluate_on_ema', True):
                hook.after_val_epoch(runner)  # the model's own weights, in place of their average
        self._stop(runner, dict(epoch=runner.epoch, iter=runner.iter), 0)

    def _agreed(self, runner) -> bool:
        """Return whether any process has received a signal, the same in all."""
        if runner.distributed:
            received = torch.tensor(self.signals.received)
            all_reduce(received, 'max')
            self.signals.received = int(received)
        return bool(self.signals.received)

    def _stop(self, runner, progress: dict, in_epoch: int) -> None:
        savers = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        runner.message_hub.update_info(DONE_IN_EPOCH, in_epoch)
        saved = f'saved {savers[0].save_interrupted(runner, progress)}' if savers else 'not saved'
        barrier()  # whoever ends first would make the launcher end the one that saves
        name = signal.Signals(self.signals.received).name
        raise Interrupted(
            f'stopped by {name} after step {progress["iter"]}; {saved}', self.signals.received
        )


def resume_command(argv: Sequence[str], launcher: str, gpus: int = 1) -> str:
    """Return the command that continues a run of ``glmix train``.

    Args:
        argv: the arguments that it was started with.
        launcher: what started the processes.
        gpus: of ``--gpus``; above 1, ``start_processes`` has added the launcher at the end, unless
            the user's own torchrun started the processes.
    """
    if gpus > 1 and [*argv[-2:]] == ['--launcher', 'pytorch']:
        argv = argv[:-2]
    elif launcher != 'none':
        return 'the same command with --resume'
    kept = []
    for before, argument in zip(['', *argv], argv, strict=False):
        # Its checkpoint goes as well: this run has saved a newer one.
        value = before == '--resume' and not argument.startswith('-')
        if not value and argument.split('=')[0] != '--resume':
            kept.append(argument)
    return f'{spelled("train")} {shlex.join([*kept, "--resume"])}'
