"""Fits a recipe's schedulers to the length of a run, and finds the largest rate that they reach."""

import copy
import math
from collections.abc import Mapping

import torch
from mmengine.registry import OPTIMIZERS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..config.train_edits import set_schedulers
from ..errors import UserError

SHARE = 10  # a warmup that is too long for a run becomes one in so many of its iterations
STEPWISE = ('StepLR', 'ExponentialLR')  # their 'end' is where they stop, not what they aim at
WARMUPS = dict(LinearLR='start_factor', ConstantLR='factor', QuadraticWarmupLR=None)


def fit_schedule(runner: Runner, epoch: int | None = None) -> list[str]:
    """Shorten a warmup that the run would not leave behind, and say what rate the run reaches.

    A warmup of more than half of the run becomes a tenth of it; what began at its end begins at
    the new one. The runner's config changes with it, also in the run's folder.

    Args:
        runner: one that has not begun to train; its training loop is built.
        epoch: iterations of an epoch, where it is not this process's training that counts.

    Returns:
        What was changed, the schedulers that never begin or end, and the largest learning rate.

    Raises:
        UserError: an epoch has no iteration.
    """
    found = runner.cfg.get('param_scheduler')
    loop = runner.train_loop
    epoch = len(loop.dataloader) if epoch is None else epoch
    if not epoch:
        raise UserError(
            f'train_dataloader: {len(loop.dataloader.dataset)} images make no batch of '
            f'{loop.dataloader.batch_sampler.batch_size} in each process, and smaller ones are '
            'left out (drop_last=True), so nothing would be learned; set '
            'train_dataloader.drop_last=False, or a smaller train_dataloader.batch_size'
        )
    if not found or (isinstance(found, Mapping) and 'type' not in found):  # several optimizers
        return []
    total = loop.max_epochs * epoch if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters
    published = [dict(each) for each in (found if isinstance(found, list) else [found])]
    schedulers = copy.deepcopy(published)
    notes = [
        *_shorten_warmups(schedulers, epoch, total),
        *_late_schedulers(schedulers, epoch, total),
    ]
    if schedulers != published:
        set_schedulers(runner.cfg, copy.deepcopy(schedulers))
        runner.param_schedulers = schedulers
        runner.dump_config()
    return [*notes, *_peak_note(runner, schedulers, epoch, total)]


def _unit(scheduler: Mapping, epoch: int) -> int:
    """Return how many iterations a scheduler counts as one."""
    return epoch if scheduler.get('by_epoch', True) else 1


def _rises(scheduler: Mapping) -> bool:
    kind, begin = str(scheduler.get('type')), scheduler.get('begin', 0)
    if kind not in WARMUPS or begin or not math.isfinite(scheduler.get('end') or math.inf):
        return False
    return WARMUPS[kind] is None or scheduler.get(WARMUPS[kind], 1 / 3) < 1


def _shorten_warmups(schedulers: list[dict], epoch: int, total: int) -> list[str]:
    notes = []
    for place, scheduler in enumerate(schedulers):
        if not _rises(scheduler):
            continue
        old, unit = scheduler['end'], _unit(scheduler, epoch)
        if old * unit <= total / 2:
            continue
        new = max(2, total // SHARE)  # of 1, mmengine's would stay at its first rate
        for other in schedulers:
            if other.get('begin', 0) * _unit(other, epoch) == old * unit:
                other['begin'] = new // _unit(other, epoch)
        scheduler.update(by_epoch=False, begin=0, end=new)
        scheduler.pop('convert_to_iter_based', None)
        notes.append(
            f'The warmup of {old * unit} iterations is too long for a run of {total}: it is '
            f'shortened to {new} (param_scheduler.{place}.end={new})'
        )
    return notes


def _late_schedulers(schedulers: list[dict], epoch: int, total: int) -> list[str]:
    notes = []
    for place, scheduler in enumerate(schedulers):
        unit, steps = _unit(scheduler, epoch), scheduler.get('milestones')
        first, what = scheduler.get('begin', 0), 'begin'
        last, end = scheduler.get('end') or 0, 'end'
        if steps:
            last, end = max(steps) + 1, 'milestones'
            if min(steps) > first:
                first, what = min(steps), 'milestones'
        if total <= first * unit:
            notes.append(
                f'param_scheduler.{place} ({scheduler["type"]}) does nothing: it starts at '
                f'iteration {first * unit} of {total}; set param_scheduler.{place}.{what} below '
                f'{math.ceil(total / unit)}, or train longer'
            )
        elif total < last * unit < math.inf and scheduler['type'] not in STEPWISE:
            notes.append(
                f'param_scheduler.{place} ({scheduler["type"]}) is cut short: it extends to '
                f'iteration {last * unit} of {total}; set param_scheduler.{place}.{end} to fit '
                f'{math.ceil(total / unit)}, or train longer'
            )
    return notes


def _peak_note(runner: Runner, schedulers: list[dict], epoch: int, total: int) -> list[str]:
    optimizer = runner.cfg.optim_wrapper.get('optimizer') or {}
    if not optimizer.get('lr'):
        return []
    share = largest_share(runner, schedulers, epoch, total)
    scaling = runner.cfg.get('auto_scale_lr') or {}
    rate = optimizer['lr']
    if scaling.get('enable') and scaling.get('base_batch_size'):
        each = runner.cfg.train_dataloader.batch_size
        rate *= each * runner.world_size / scaling['base_batch_size']
    return [f"Largest learning rate of the run: {rate * share:.4g} ({share:.0%} of the recipe's)"]


def largest_share(runner: Runner, schedulers: list[dict], epoch: int, total: int) -> float:
    """Return the largest learning rate that schedulers give, as a share of the optimizer's own.

    They are stepped as mmengine's ``ParamSchedulerHook`` steps them, on an optimizer of one number.
    """
    settings = dict(runner.cfg.optim_wrapper.optimizer)
    full = settings['lr']
    optimizer = OPTIMIZERS.build(dict(settings, params=[torch.nn.Parameter(torch.zeros(1))]))
    steady = [s for s in copy.deepcopy(schedulers) if 'ReduceOnPlateau' not in s['type']]
    for scheduler in steady:  # mmengine's would be that of this process's loader
        scheduler['epoch_length'] = epoch
    built = runner._build_param_scheduler(steady, optimizer)
    goal = max([full, *(s['eta_max'] for s in steady if 'eta_max' in s)])
    largest = 0.0
    for iteration in range(1, total + 1):
        optimizer.step()  # else PyTorch warns of the order
        largest = max(largest, optimizer.param_groups[0]['lr'])
        if largest >= goal * (1 - 1e-9):  # usually soon, so a long run is not stepped through
            break
        for scheduler in built:
            if not scheduler.by_epoch or iteration % epoch == 0:
                scheduler.step()
    return largest / full
