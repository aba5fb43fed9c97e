"""Training loops that continue exactly where an interrupted run stopped, even within an epoch.

mmengine's own loops draw from random streams that run through the whole training. To continue, they
would have to be saved in every process and data-loading worker. mmengine does not save them. Here
nothing runs on: what a step draws is a function of the seed, the process and the step's number, and
what a sample draws of its place in the batch too. So there is nothing to save, batches that were
trained on are skipped without being read, and the number of workers changes nothing.
"""

import ctypes
import itertools
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import broadcast, get_rank
from mmengine.registry import FUNCTIONS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from ..errors import UserError

# What the message hub calls the batches of the epoch under way that a checkpoint has behind it.
DONE_IN_EPOCH = 'done_in_epoch'
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
VALIDATED = 'last_validation'  # the file that holds the step of the last validation that ended


def reseed(seed: int, rank: int, step: int, place: int) -> None:
    """Seed Python, NumPy and PyTorch.

    Args:
        seed: the run's.
        rank: the process.
        step: the training step, from 0.
        place: 0 for the model's own draws, else the sample's place in the batch, from 1.
    """
    # All four always: a SeedSequence takes a number that is left out for a zero.
    words = np.random.SeedSequence((seed, rank, step, place)).generate_state(4)
    np.random.seed(words)
    random.seed(words.tobytes())
    torch.manual_seed(int.from_bytes(words[:2].tobytes(), 'little'))


@FUNCTIONS.register_module()
def end_with_parent(worker_id: int) -> None:
    """Let Linux end a data-loading worker when its training is killed, and by nobody else.

    PyTorch's own watch over the parent is not enough: a worker that still has a sample to send
    waits forever for somebody to read it. And torchrun, Slurm and systemd send SIGTERM to all
    processes: if the workers went first, the training could not end its step and save.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all as well
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    """Wait for the parent's SIGTERM, then end the process; pass over all others."""
    parent = multiprocessing.parent_process().pid
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


class SeededDataset:
    """A data set whose samples are drawn by what :class:`SeededBatches` asks for.

    Otherwise it behaves as the dataset itself: attributes are read from it and set on it.
    """

    def __init__(self, dataset, seed: int, rank: int):
        vars(self).update(_dataset=dataset, _seed=seed, _rank=rank)

    def __getitem__(self, key: tuple[int, int, int]):
        """Return the sample of a step, a place in its batch, and an index."""
        step, place, index = key
        reseed(self._seed, self._rank, step, place)
        return self._dataset[index]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getattr__(self, name: str):
        if name == '_dataset':  # not there yet while a worker unpickles this
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self._dataset, name, value)


class SeededBatches:
    """A batch sampler that adds to every index the step and the place in the batch.

    Args:
        batches: the batch sampler that chooses.
        endless: whether to start again, with the next epoch's order, where it ends.
    """

    def __init__(self, batches, endless: bool):
        self.batches = batches
        self.endless = endless
        self._step = self._skipped = 0

    def start(self, step: int, skipped: int) -> None:
        """Set where the next iteration starts.

        Args:
            step: the number of the first step, from 0.
            skipped: batches to leave out at the start: those that were trained on.
        """
        self._step, self._skipped = step, skipped

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for batch in itertools.islice(self._chosen(), self._skipped, None):
            yield [(self._step, place, index) for place, index in enumerate(batch, 1)]
            self._step += 1

    def _chosen(self) -> Iterator[list[int]]:
        for epoch in itertools.count():
            if self.endless and hasattr(self.batches.sampler, 'set_epoch'):
                self.batches.sampler.set_epoch(epoch)
            number = None
            for number, batch in enumerate(self.batches):  # noqa: B007 (looked at below)
                yield batch
            if number is None:
                raise UserError(
                    'train_dataloader gives no batch: the data set has fewer images than one '
                    'batch; lower train_dataloader.batch_size'
                )
            if not self.endless:
                return

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str):
        if name == 'batches':
            raise AttributeError(name)
        return getattr(self.batches, name)  # sampler, batch_size, drop_last


class SeededLoader(DataLoader):
    """A data loader with :class:`SeededBatches`; its workers start with the first batch.

    Args:
        loader: the loader to be replaced, not iterated yet.
        endless: as in :class:`SeededBatches`.
        seed: the run's.
    """

    def __init__(self, loader: DataLoader, endless: bool, seed: int):
        names = ('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn')
        names += ('multiprocessing_context', 'generator', 'prefetch_factor', 'persistent_workers')
        super().__init__(
            SeededDataset(loader.dataset, seed, get_rank()),
            batch_sampler=SeededBatches(loader.batch_sampler, endless),
            **{name: getattr(loader, name) for name in names},
        )

    def __iter__(self) -> Iterator:
        # A generator: mmengine asks for the iterator before it knows where a run continues.
        yield from super().__iter__()


def _seeded(runner, dataloader, endless: bool) -> SeededLoader:
    """Build the loader of a config, as mmengine's ``BaseLoop`` does, and replace it."""
    own_seeds = runner._randomness_cfg.get('diff_rank_seed', False)
    loader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=own_seeds)
    return SeededLoader(loader, endless, runner.seed)


class _ExactLoop:
    """What both loops have in common."""

    def _seed_step(self) -> None:
        reseed(self.runner.seed, get_rank(), self._iter, 0)

    def _validate(self, progress: int, total: int) -> None:
        """Validate where the config asks for it.

        Args:
            progress: epochs or iterations done.
            total: of the whole training.
        """
        self._decide_current_val_interval()
        due = progress % self.val_interval == 0 or progress == total
        if self.runner.val_loop is not None and progress >= self.val_begin and due:
            self.runner.val_loop.run()

    def _validate_if_missed(self, progress: int, total: int) -> None:
        """Validate what a resumed run left out if it was killed before its validation ended."""
        if not self._iter or self.runner.message_hub.get_info(DONE_IN_EPOCH):
            return
        noted = Path(self.runner.work_dir) / VALIDATED
        done = noted.is_file() and noted.read_text(errors='replace') == str(self._iter)
        missed = torch.tensor(int(not done))
        broadcast(missed)  # one process decides for all: folders may differ between machines
        if missed:
            self._validate(progress, total)


@LOOPS.register_module()
class ExactIterBasedTrainLoop(_ExactLoop, IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, which continues exactly where a run stopped.

    Raises:
        UserError: the data set has fewer images than one batch.
    """

    def __init__(self, runner, dataloader, **kwargs):
        super().__init__(runner, _seeded(runner, dataloader, endless=True), **kwargs)

    def run(self):
        """Train; return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.dataloader.batch_sampler.start(self._iter, skipped=self._iter)
        self._validate_if_missed(self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch) -> None:
        """Train one step."""
        self._seed_step()
        super().run_iter(data_batch)


@LOOPS.register_module()
class ExactEpochBasedTrainLoop(_ExactLoop, EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which continues exactly where a run stopped."""

    def __init__(self, runner, dataloader, **kwargs):
        super().__init__(runner, _seeded(runner, dataloader, endless=False), **kwargs)

    def run(self):
        """Train; return the model."""
        self.runner.call_hook('before_train')
        self._validate_if_missed(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train an epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self.runner.message_hub.get_info(DONE_IN_EPOCH, 0)
        self.runner.message_hub.update_info(DONE_IN_EPOCH, 0)
        self.dataloader.batch_sampler.start(self._iter, skipped=done)
        for number, batch in enumerate(self.dataloader, done):
            self.run_iter(number, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx, data_batch) -> None:
        """Train one step."""
        self._seed_step()
        super().run_iter(idx, data_batch)
