"""Kills trainings at random moments: python tests/training/interruption_proof.py [FOLDER].

Mask R-CNN and Semantic FPN with GLNet-nano train a few steps on a tiny demo set, once without
interruption, then again and again with a SIGKILL from outside: in a step, while a checkpoint is
saved, in a validation. After each kill every checkpoint must be readable, and ``--resume`` must end
with the same weights, optimizer and best checkpoint, to the bit.
"""

import argparse
import importlib
import os
import random
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmengine.config.config
import torch
from mmengine.runner import ValLoop

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.training.checkpoint_hook import SafeCheckpointHook, saved_checkpoints
from glmix_mm.training.exact_loops import ExactIterBasedTrainLoop
from glmix_mm.training.train import main

for package in ('mmdet.apis', 'mmseg.apis'):  # so that no child has to
    importlib.import_module(package)

STEPS, VALIDATION, SAVING = 12, 4, 2  # steps in all, between validations, between checkpoints
SIZE = 64  # px
TASKS = {
    'maskrcnn': (
        'train_dataloader.dataset.indices=12',
        f'val_dataloader.dataset.pipeline.1.scale=({SIZE}, {SIZE})',
        'default_hooks.checkpoint.save_best=coco/bbox_mAP',
    ),
    'semfpn': ('default_hooks.checkpoint.save_best=mIoU',),
}
EVENTS = {
    'step': (ExactIterBasedTrainLoop, 'run_iter'),
    'save': (SafeCheckpointHook, '_save_checkpoint_with_step'),
    'validation': (ValLoop, 'run'),
}


def options(task: str, workers: int) -> list[str]:
    """Return the settings of a short training in which everything random is drawn."""
    return [
        f'train_cfg.max_iters={STEPS}',
        f'train_cfg.val_interval={VALIDATION}',
        f'default_hooks.checkpoint.interval={SAVING}',
        'default_hooks.checkpoint.max_keep_ckpts=2',
        'train_dataloader.batch_size=2',
        f'train_dataloader.num_workers={workers}',
        'model.backbone.drop_path_rate=0.3',
        *TASKS[task],
    ]


def report(pipe: int, kind: str) -> None:
    """Let one of the methods that make up a training tell when it begins and ends."""
    cls, name = EVENTS[kind]
    method, count = getattr(cls, name), 0

    def reporting(*arguments, **keywords):
        nonlocal count
        count += 1
        os.write(pipe, f'{kind} {count} begin {time.monotonic()}\n'.encode())
        result = method(*arguments, **keywords)
        os.write(pipe, f'{kind} {count} end {time.monotonic()}\n'.encode())
        return result

    setattr(cls, name, reporting)


def start(task: str, root: Path, folder: Path, workers: int, *more: str) -> tuple[int, Iterator]:
    """Train in a process of its own; return its number, and what its methods tell."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, os.fdopen(reading)
    try:
        with open(folder.with_suffix('.log'), 'ab', buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        # Making the dump of a config pretty takes longer than all the rest.
        mmengine.config.config.FormatCode = lambda text, **_: (text, True)
        for kind in EVENTS:
            report(writing, kind)
        arguments = [f'demo/{task}_glnet_nano.py', '--data-root', str(root), '--deterministic']
        arguments += ['--work-dir', str(folder), *more, '--cfg-options', *options(task, workers)]
        os._exit(run(main, arguments))
    finally:
        os._exit(70)  # never back into the parent's code


def finish(child: int) -> int:
    """Wait for a process; return its exit status, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def equal(first, second) -> bool:
    """Return whether two nests of dicts and lists hold the same numbers, to the bit."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        keys = first.keys() == second.keys()
        return keys and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        pairs = zip(first, second, strict=True)
        return len(first) == len(second) and all(equal(*pair) for pair in pairs)
    return first == second


def outcome(folder: Path) -> dict:
    """Return what a finished run must leave: the last checkpoint's state, and the best's."""
    last = read_checkpoint(folder / f'iter_{STEPS}.pth')
    result = {key: last[key] for key in ('state_dict', 'optimizer', 'param_schedulers')}
    best = {path.name: path for path in folder.glob('best_*.pth')}
    result['best'] = {name: read_checkpoint(best[name])['state_dict'] for name in sorted(best)}
    return result


def check_after_kill(folder: Path, seen: list[list[str]]) -> None:
    """Check that every checkpoint is whole, and that there is one once one was saved."""
    for path in folder.glob('*.pth'):
        read_checkpoint(path)
    if any(kind == 'save' and what == 'end' for kind, _, what, _ in seen):
        assert saved_checkpoints(folder), f'no checkpoint left in {folder}'
    # A validation saves the best one, at least the first, before its end.
    if any(kind == 'validation' and what == 'end' for kind, _, what, _ in seen):
        assert list(folder.glob('best_*.pth')), f'no best checkpoint left in {folder}'


def kill(child: int, events: Iterator, kind: str, number: int, delay: float) -> list[list[str]]:
    """Kill a training some seconds after one of its methods begins; return what it told."""
    seen = []
    for line in events:
        seen.append(line.split())
        if seen[-1][:3] == [kind, str(number), 'begin']:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
    return seen


def durations(events: list[list[str]]) -> dict[str, list[float]]:
    """Return how long each call of each method took, s."""
    begun, lasted = {}, defaultdict(list)
    for kind, number, what, moment in events:
        if what == 'begin':
            begun[kind, number] = float(moment)
        else:
            lasted[kind].append(float(moment) - begun[kind, number])
    return lasted


def prove(folder: Path, kills: int, tasks: list[str], workers: int) -> None:
    """Kill, resume and compare; print a line for each kill."""
    chance = random.Random(0)
    size = dict(num_train=16, num_val=4, image_size=SIZE)
    root = write_demo_dataset(folder / 'data', **size)
    references, lasted = {}, {}
    for task in tasks:
        child, events = start(task, root, folder / task, workers)
        lasted[task] = durations([line.split() for line in events])
        assert finish(child) == 0, f'see {folder / task}.log'
        references[task] = outcome(folder / task)
        times = ', '.join(
            f'{len(v)} of {k} ({1000 * statistics.median(v):.0f} ms)'
            for k, v in lasted[task].items()
        )
        print(f'{task}, {workers} workers: {times}', flush=True)
    for run_number in range(kills):
        task = tasks[run_number % len(tasks)]
        kind = list(EVENTS)[run_number // len(tasks) % len(EVENTS)]
        calls = lasted[task][kind]
        number = chance.randint(1, len(calls))
        delay = chance.random() * calls[number - 1]
        status, attempt = 0, 0
        while not status:  # it may have ended before: no two runs take the same time
            work_dir, delay = folder / f'{task}_{run_number}_{attempt}', delay * 0.8**attempt
            child, events = start(task, root, work_dir, workers)
            seen = kill(child, events, kind, number, delay)
            status, attempt = finish(child), attempt + 1
        assert status == -signal.SIGKILL, f'status {status}; see {work_dir}.log'
        check_after_kill(work_dir, seen)
        left = ' '.join(sorted(path.name for path in work_dir.glob('*.pth'))) or 'none'
        child, events = start(task, root, work_dir, workers, '--resume')
        for _ in events:
            pass
        assert finish(child) == 0, f'see {work_dir}.log'
        same = equal(outcome(work_dir), references[task])
        print(
            f'{run_number + 1:2d} {task:8} killed {1000 * delay:4.0f} ms into {kind} {number}; '
            f'left: {left}; resumed: {"the same bits" if same else "DIFFERENT"}',
            flush=True,
        )
        assert same, f'{work_dir} differs from {folder / task}'
        assert not list(work_dir.glob('.*')), 'a killed write left its temporary file'
    print(f'{kills} of {kills} resumed to the same bits', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', nargs='?', default='demo_out/interruption')
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS))
    parser.add_argument('--workers', type=int, default=0)
    args = parser.parse_args()
    prove(Path(args.folder).absolute(), args.kills, args.tasks, args.workers)
