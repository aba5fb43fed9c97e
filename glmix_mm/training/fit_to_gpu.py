"""Fits a recipe to few or small GPUs: batch, accumulation, learning rate and length together.

What counts as the published recipe is one step of the optimizer on ``base_batch_size`` images.
Where they do not fit at once, they are accumulated; only where their number has no suitable divisor
does the learning rate change, in proportion (mmengine's ``auto_scale_lr`` rule).
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import nn

from ..config.edits import base_batch_size
from ..config.train_edits import fit_recipe
from ..errors import UserError
from ..utils.devices import find_device
from .step_memory import Prober, Step

FREE = 0.1  # of the memory stays free, for CUDA's own and the allocator's gaps: a choice
GIB = 2**30
SCHEDULE = ('begin', 'end', 'T_max', 'step_size', 'period')  # of a scheduler, in iterations
MOMENTUM = 2e-4  # of mmengine's EMAHook by default


@dataclass(frozen=True)
class Budget:
    """What a run may use.

    Attributes:
        gpus: their number.
        memory: of each, bytes; None to measure the config's own batch alone.
    """

    gpus: int
    memory: float | None


@dataclass(frozen=True)
class Plan:
    """A recipe for a budget.

    Attributes:
        each: images per GPU and iteration.
        counts: iterations whose gradients one step of the optimizer takes.
        settings: full keys of the config and their values.
        changes: how it differs from the published recipe; empty where it does not.
    """

    each: int
    counts: int
    settings: dict
    changes: list[str]


def fit_to_hardware(
    cfg: Config, model: nn.Module, budget: Budget, images: int | None, verify: bool
) -> list[str]:
    """Measure what a step takes, plan, and change the config as planned.

    Args:
        cfg: the whole config.
        model: its model; it is spoilt.
        budget: what may be used.
        images: of the training set; None if unknown.
        verify: whether to measure the planned batch as well, and the time of a step.

    Returns:
        What was measured and planned.

    Raises:
        UserError: not even the smallest batch fits, or the config names no base batch size.
    """
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler's own messages
    prober = Prober(cfg, model, find_device(None))
    height, width = prober.shape
    head = f'Memory of a training step at {height} x {width} in {prober.precision}'
    try:
        if budget.memory is None:
            plan = own_plan(cfg)
            step = prober.run(plan.each, timed=True)
            lines = [f'{head}: {describe_step(step, plan.each)}']
            if cfg.get('launcher', 'none') == 'none':
                lines += expected_length(cfg, plan, budget.gpus, images, step)
            return lines
        on_gpu = prober.device.type == 'cuda'
        steps = prober.run_two(timed=verify and not on_gpu)
        least = min(steps)
        fit = largest_fit(list(steps.values()), budget.memory)
        lines = [f'{head}: {describe_step(step, size)}' for size, step in steps.items()]
        if fit < least:
            raise UserError(
                f'--mem {budget.memory / GIB:g}: not even this fits at {height} x {width}: '
                f'{describe_step(steps[least], least)}; a tenth stays free. Try --cfg-options '
                'model.backbone.with_cp=True (gradient checkpointing), a smaller scale in the '
                'training pipeline, or a smaller backbone'
            )
        plan = make_plan(cfg, budget.gpus, fit, least, prober.trains_batch_norms())
        measured = steps[max(steps)]
        if verify and on_gpu:
            measured = prober.run(plan.each, timed=True)
            lines.append(f'The planned batch: {describe_step(measured, plan.each)}')
        lines += report(cfg, plan, budget, fit, images, measured)
        fit_recipe(cfg, plan.settings)
        return lines
    finally:
        del prober
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def describe_step(step: Step | None, batch_size: int) -> str:
    """Say what a step took."""
    images = f'{batch_size} image{"s" if batch_size > 1 else ""}'
    if step is None:
        return f'{images}: more than this GPU has'
    return (
        f'{images}: {step.peak / GIB:.2f} GiB, {step.held / GIB:.2f} of them weights, gradients '
        f"and the optimizer's state ({step.seconds:.1f} s)"
    )


def own_plan(cfg: Config) -> Plan:
    """Return what the config itself says of batch and accumulation."""
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    return Plan(cfg.train_dataloader.batch_size, counts, {}, [])


def largest_fit(steps: Sequence[Step | None], memory: float) -> int:
    """Return how many images fit into a GPU, by a line through the two measured steps.

    Args:
        steps: of batches that differ by one image; None where one was too large for the GPU.
        memory: of the GPU, bytes; :data:`FREE` of it is left free.
    """
    usable = memory * (1 - FREE)
    first, second = steps
    if first is None or first.peak > usable:
        return 0
    if second is None or second.peak > usable:
        return first.batch_size
    growth = max(second.peak - first.peak, 1)
    return second.batch_size + int((usable - second.peak) // growth)


def make_plan(cfg: Config, gpus: int, fit: int, least: int, trains_batch_norms: bool) -> Plan:
    """Choose batch and accumulation, and what follows from them.

    Args:
        cfg: the config, as published.
        gpus: their number.
        fit: most images per GPU.
        least: fewest images per GPU with which the model trains.
        trains_batch_norms: whether batch norms take the statistics of the batch.
    """
    base, published = base_batch_size(cfg, '--mem'), cfg.train_dataloader.batch_size
    each, counts = split_batch(base, gpus, fit, least)
    total = each * gpus * counts
    settings = {'train_dataloader.batch_size': each, 'optim_wrapper.accumulative_counts': counts}
    changes = []
    if total != base:
        old = cfg.optim_wrapper.optimizer.lr
        settings['optim_wrapper.optimizer.lr'] = new = float(f'{old * total / base:.6g}')
        changes.append(
            f'a step takes {total} images instead of {base}; the learning rate goes with them '
            f'linearly, {old:g} -> {new:g}'
        )
    synced = cfg.get('sync_bn')
    seen, expected = (each * gpus, base) if synced else (each, published)
    if trains_batch_norms and seen < expected:
        changes.append(
            f'batch norms are trained on {seen} images at a time instead of {expected}, which '
            'accumulation does not change'
        )
    settings.update(stretched(cfg, base / (each * gpus)))
    return Plan(each, counts, settings, changes)


def split_batch(base: int, gpus: int, fit: int, least: int = 1) -> tuple[int, int]:
    """Return images per GPU and accumulated iterations that make up a batch, or nearly.

    Args:
        base: images that one step of the optimizer should take.
        gpus: their number.
        fit: most images per GPU.
        least: fewest images per GPU.
    """
    share = base // gpus
    divisors = [n for n in range(least, min(fit, share) + 1) if share % n == 0]
    if base % gpus == 0 and divisors:
        return divisors[-1], share // divisors[-1]
    each = max(least, min(fit, round(base / gpus)))
    return each, max(1, round(base / (gpus * each)))


def stretched(cfg: Config, factor: float) -> dict:
    """Return the settings that count iterations, for iterations of 1 / ``factor`` as many images.

    What counts epochs stays.
    """
    if factor == 1:
        return {}
    found = {}
    if cfg.train_cfg.get('max_iters'):
        for key in ('max_iters', 'val_interval'):
            if cfg.train_cfg.get(key):
                found[f'train_cfg.{key}'] = cfg.train_cfg[key]
    schedulers = cfg.get('param_scheduler') or []
    single = isinstance(schedulers, dict)
    for place, scheduler in enumerate([schedulers] if single else schedulers):
        if scheduler.get('by_epoch', True):
            continue
        prefix = 'param_scheduler' if single else f'param_scheduler.{place}'
        found |= {f'{prefix}.{key}': scheduler[key] for key in SCHEDULE if scheduler.get(key)}
        if scheduler.get('milestones'):
            found[f'{prefix}.milestones'] = list(scheduler['milestones'])
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True) and checkpoint.get('interval', 0) > 0:
        found['default_hooks.checkpoint.interval'] = checkpoint['interval']
    return {key: _stretch(value, factor) for key, value in found.items()} | _averages(cfg, factor)


def _averages(cfg: Config, factor: float) -> dict:
    """Return the momenta with which averages of the weights reach back over as many images."""
    momenta = {
        f'custom_hooks.{place}.momentum': hook.get('momentum', MOMENTUM)
        for place, hook in enumerate(cfg.get('custom_hooks') or [])
        if str(hook.get('type')).endswith('EMAHook')
    }
    return {key: float(f'{1 - (1 - m) ** (1 / factor):.6g}') for key, m in momenta.items()}


def _stretch(value: object, factor: float):
    if isinstance(value, list):
        return [_stretch(item, factor) for item in value]
    return max(1, round(value * factor)) if math.isfinite(value) else value


def report(
    cfg: Config,
    plan: Plan,
    budget: Budget,
    fit: int,
    images: int | None,
    measured: Step | None,
) -> Iterator[str]:
    """Yield what the plan is, and how it differs from the published recipe."""
    base, total = base_batch_size(cfg, '--mem'), plan.each * plan.counts * budget.gpus
    yield (
        f'{budget.memory / GIB:g} GiB, of which a tenth stays free, take up to {fit} images; '
        f'planned: {plan.each} x {budget.gpus} GPUs x {plan.counts} accumulated = {total} images a '
        f'step of the optimizer; base batch {base}'
    )
    rate = plan.settings.get('optim_wrapper.optimizer.lr', cfg.optim_wrapper.optimizer.lr)
    yield f'Learning rate: {rate:g} (rule: in proportion to the images of a step)'
    yield from expected_length(cfg, plan, budget.gpus, images, measured)
    for change in plan.changes:
        yield f'No longer the published recipe: {change}'
    if not plan.changes:
        yield "The published recipe's batch, learning rate and number of steps are kept"
    settings = ' '.join(f'{key}={_option(value)}' for key, value in plan.settings.items())
    yield f'The same without --mem: --cfg-options {settings}'


def expected_length(
    cfg: Config, plan: Plan, gpus: int, images: int | None, measured: Step | None
) -> Iterator[str]:
    """Yield how long the run is, in iterations and, if a step was timed, in hours.

    Args:
        cfg: the config, as published.
        plan: what is made of it.
        gpus: their number.
        images: of the training set; None if unknown.
        measured: a step; one of another batch than planned counts in proportion to its images.
            None if it did not fit.
    """
    iterations, epochs = _length(cfg, plan, gpus, images)
    steps = f' ({iterations // plan.counts} steps)' if iterations and plan.counts > 1 else ''
    count = f'{iterations} iterations of {plan.each * gpus} images{steps}' if iterations else ''
    length = f'Expected length: {", ".join(filter(None, (count, epochs)))}'
    if measured is not None and measured.warm is None:
        length += ' (--dry-run measures how many hours)'
    yield length
    if measured is None or measured.warm is None or not iterations:
        return
    seconds = measured.warm * plan.each / measured.batch_size
    scaled = '' if measured.batch_size == plan.each else f' with {measured.batch_size} images'
    others = f', {gpus} GPUs as fast as one' if gpus > 1 else ''
    yield (
        f'Expected time: {duration(iterations * seconds)} on this machine: {iterations} x '
        f'{seconds:.3g} s, from a second, warm step at the largest shape{scaled}{others}; reading '
        'data, validation and saving not counted'
    )


def _length(cfg: Config, plan: Plan, gpus: int, images: int | None) -> tuple[int | None, str]:
    """Return the iterations, None if unknown, and the epochs in words."""
    together = plan.each * gpus
    iterations = plan.settings.get('train_cfg.max_iters', cfg.train_cfg.get('max_iters'))
    if iterations:
        epochs = f'{iterations * together / images:.1f} epochs of {images} images' if images else ''
        return iterations, epochs
    if images is None:
        return None, f'{cfg.train_cfg.max_epochs} epochs'
    iterations = math.ceil(images / together) * cfg.train_cfg.max_epochs
    return iterations, f'{cfg.train_cfg.max_epochs} epochs of {images} images'


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (('days', 86400), ('hours', 3600), ('minutes', 60)):
        if seconds >= 2 * size:
            return f'{seconds / size:.1f} {unit}'
    return f'{seconds:.0f} seconds'


def _option(value: object) -> str:
    return str(value).replace(' ', '')
