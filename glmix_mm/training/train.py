"""Trains a detector, a segmentor or a classifier: what ``glmix train`` calls."""

import argparse
import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from ..checkpoints.fit import check_classes, check_fit, check_overlap, read
from ..checkpoints.released_weights import SCHEME, find_release
from ..compat.unserved_layers import check_layers
from ..config.edits import bound_kernel_caches, pretrained_checkpoints
from ..config.load_config import load_config
from ..config.plan import difference, prepare, train_options
from ..config.train_edits import start_from, take_seed
from ..data.classes_from_data import read_classes
from ..data.dataset_checks import check_datasets
from ..data.kept_annotations import annotations_kept, forget_parsed
from ..errors import UserError
from ..models.build import build_model
from ..utils.arguments import parse
from ..utils.collector import collection_paused
from ..utils.commands import spelled
from ..utils.parsers import train_parser
from ..utils.registry_errors import config_mistakes
from .checkpoint_hook import find_latest, read_resumable, saved_checkpoints
from .error_context import ResumedStateHook, Stopped, blame_files
from .fit_to_gpu import GIB, Budget, fit_to_hardware
from .launchers import (
    check_launcher,
    check_same_config,
    is_first,
    is_first_on_machine,
    join_processes,
    start_processes,
    together,
    told_to_others,
)
from .official_weights_hook import accept_official
from .resumed_config import describe_changes, describe_end
from .run_folder import RUN_ID, id_of, new_run_id, own_folder
from .runner_setup import build_all_parts, build_runner, disk_guard, make_work_dir
from .schedule import fit_schedule
from .signals import Interrupted, InterruptHook, kept_signals, resume_command
from .step_memory import check_single_image

AUTO = 'auto'


@annotations_kept()
def main(argv: Sequence[str]) -> int:
    """Train as the command line says; return the exit status.

    Raises:
        UserError: a mistake in the arguments, the config, the data or a checkpoint.
    """
    args = parse(train_parser(), argv)
    budget = read_budget(args)
    check_launcher(args.launcher, args.gpus)
    bound_kernel_caches()
    with told_to_others(args.launcher), collection_paused():  # in which mmdet is imported
        cfg = load_config(args.config, args.cfg_options, args.launcher)
        before = copy.deepcopy(cfg) if args.dry_run else None
        notes = prepare(cfg, train_options(args, read_classes))
    if args.gpus > 1 and args.launcher == 'none' and not args.dry_run:
        return start_processes(args.gpus, 'train', argv)
    try:
        train(cfg, args.resume, notes, budget, args.dry_run)
        if before:
            print(f'What the run changes in the config:\n{difference(before, cfg)}')
            print('Everything checked; nothing trained (--dry-run).')
    except Interrupted as stop:
        command = resume_command(argv, cfg.launcher, args.gpus)
        said = f'{stop}; continue with: {command}' if is_first(cfg.launcher) else ''
        raise Interrupted(said, stop.signum) from None
    except Stopped as stop:
        command = resume_command(argv, cfg.launcher, args.gpus)
        raise UserError(f'{stop}; once that is fixed, continue with: {command}') from stop
    return 0


def read_budget(args: argparse.Namespace) -> Budget | None:
    """Return what ``--mem`` and ``--gpus`` say of a run to plan or to measure, else None.

    Raises:
        UserError: they do not go together with each other or with how the run is started.
    """
    if args.mem is None:
        return Budget(args.gpus, None) if args.dry_run else None
    if args.mem <= 0:
        raise UserError(f'--mem {args.mem}: expected a number above 0')
    if args.auto_scale_lr:
        raise UserError('--mem sets the learning rate itself; leave --auto-scale-lr out')
    if args.launcher != 'none' or (args.gpus > 1 and not args.dry_run):
        raise UserError(
            f'--mem with several processes: plan first, {spelled("train")} {args.config} --gpus N '
            '--mem GIB --dry-run, then start it with --gpus N and the --cfg-options that it prints'
        )
    return Budget(args.gpus, args.mem * GIB)


def train(
    cfg: Config,
    resume: str | None = None,
    notes: Sequence[str] = (),
    budget: Budget | None = None,
    dry_run: bool = False,
) -> Runner | None:
    """Check everything that can be checked at once, then train.

    Args:
        cfg: the whole config, as :func:`~glmix_mm.config.plan.prepare` leaves it.
        resume: a checkpoint to continue from, 'auto' for the newest in the work folder, or None to
            do what the config's ``resume`` and ``load_from`` say.
        notes: what to report at the start.
        budget: GPUs that the recipe is to be fitted to.
        dry_run: measure a step's memory and time instead of training.

    Returns:
        The runner after training; None after a dry run.

    Raises:
        UserError: a mistake in the config, the data or a checkpoint, or a full disk.
        Interrupted: SIGTERM or Ctrl-C; the progress is saved.
    """
    join_processes(cfg)
    with ExitStack() as start_up:
        start_up.callback(forget_parsed)
        if budget is None:  # else steps are tried, which leave garbage
            start_up.enter_context(collection_paused())  # annotations are millions of objects
        with together():
            start = _prepare_start(cfg, resume, budget, dry_run)
        with together():
            check_same_config(cfg)
        notes = [*notes, *start.notes]
        if dry_run:
            notes += build_all_parts(cfg, budget.gpus if budget else 1)
            print('\n'.join(notes))
            return None
        with ExitStack() as folder:
            with together(), disk_guard(cfg.work_dir):
                make_work_dir(cfg.work_dir)
                if is_first(cfg.launcher):
                    folder.enter_context(own_folder(cfg.work_dir, start.run_id))
            return _train(cfg, start.run_id, notes, start_up)


def _train(cfg: Config, run_id: str, notes: Sequence[str], start_up: ExitStack) -> Runner:
    """Train with a config that was checked, in a folder that belongs to the run.

    What holds while a training starts is closed before its first step.
    """
    guards = disk_guard(cfg.work_dir), config_mistakes(cfg.filename), blame_files(cfg)
    with guards[0], guards[1], guards[2], kept_signals(cfg.launcher) as signals:
        runner = build_runner(cfg)
        runner.message_hub.update_info(RUN_ID, run_id)
        runner.register_hook(InterruptHook(signals))
        notes = [*notes, *fit_schedule(runner)]  # which has the training set read
        start_up.close()
        for note in [*notes, batch_size_note(runner)]:
            runner.logger.info(note)
        if cfg.resume:
            _forget_initial_weights(runner)
            runner.register_hook(ResumedStateHook())
        runner.train()
    return runner


def _prepare_start(
    cfg: Config, resume: str | None, budget: Budget | None, dry_run: bool
) -> 'Start':
    """Check data, checkpoint and model, and complete the config, for :func:`train`.

    Returns:
        How the run starts, with all that there is to say.

    Raises:
        UserError: a mistake in the config, the data or a checkpoint.
    """
    notes, images = [], {}
    if is_first_on_machine(cfg.launcher):
        with config_mistakes(cfg.filename):
            images = check_datasets(cfg, ['train', 'val'], notes.append)
    model = build_model(cfg)
    check_layers(model, cfg.model)
    start = choose_start(cfg, resume, model)
    notes += start.notes
    avoid = _avoid_single_image(cfg, images.get('train'))
    if avoid and not (budget and budget.memory):  # which chooses another batch
        check_single_image(cfg, model, avoid)
    if budget:
        if dry_run and cfg.launcher == 'none' and images.get('train') is None:
            images['train'] = _count_images(cfg)
        with config_mistakes(cfg.filename):
            notes += fit_to_hardware(cfg, model, budget, images.get('train'), verify=dry_run)
    if cfg.resume:
        notes += describe_changes(cfg, start.meta, cfg.load_from) + describe_end(cfg, start.meta)
    return replace(start, notes=notes)


def _avoid_single_image(cfg: Config, images: int | None) -> str | None:
    """Return the option that avoids batches of one image; None where there are none.

    Args:
        cfg: the config; of a detector, whose batch norms are frozen, None is returned.
        images: of the training set; None if unknown.
    """
    synced = cfg.get('sync_bn') and cfg.launcher != 'none' and get_device() != 'cpu'
    if synced or cfg.get('default_scope') not in ('mmseg', 'mmpretrain'):
        return None
    loader = cfg.train_dataloader
    if loader.batch_size == 1:
        return 'train_dataloader.batch_size=2'
    ends = cfg.train_cfg.get('max_epochs') and images and not loader.get('drop_last')
    left_over = ends and images % loader.batch_size == 1
    return 'train_dataloader.drop_last=True' if left_over else None


def _count_images(cfg: Config) -> int:
    """Count the training images of a data set that the checks leave uncounted, or wrapped."""
    scope = cfg.get('default_scope', 'mmengine')
    with DefaultScope.overwrite_default_scope(scope), config_mistakes(cfg.filename):
        return len(DATASETS.build(cfg.train_dataloader.dataset))


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        notes: what to report about it.
        run_id: the id of the run that continues, or of a new one.
        meta: the record of the checkpoint that is resumed.
    """

    notes: list[str]
    run_id: str
    meta: Mapping


def choose_start(cfg: Config, resume: str | None, model: nn.Module) -> Start:
    """Set the config's ``resume`` and ``load_from``, after checking that their file fits.

    Args:
        cfg: the config.
        resume: as in :func:`train`.
        model: the config's model.

    Raises:
        UserError: the checkpoint is missing, unreadable, or not of this model and data set.
    """
    notes, expected = [], model.state_dict()
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or AUTO
    if resume is not None:
        found = (
            find_latest(cfg.work_dir) if resume == AUTO else (resume, read_resumable(resume), [])
        )
        if found is not None:
            path, checkpoint, failures = found
            check_fit(expected, checkpoint, path, cfg)
            check_classes(checkpoint, path, cfg, 'train')
            start_from(cfg, True, path)
            notes += [f'Passed over: {failure}' for failure in failures]
            notes += [*take_seed(cfg, checkpoint['meta'].get('seed')), f'Resuming from {path}']
            return Start(notes, id_of(checkpoint), checkpoint['meta'])
        notes.append(f'Nothing to resume in {cfg.work_dir}: training starts.')
    start_from(cfg, False, cfg.get('load_from'))
    if cfg.get('load_from'):
        content = accept_official(cfg, model, read(cfg.load_from), cfg.load_from)
        notes.append(check_overlap(expected, content, cfg.load_from, cfg))
    for name in pretrained_checkpoints(cfg.model):
        check_pretrained(name)
    return Start(notes + _name_others(cfg.work_dir), new_run_id(), {})


def _name_others(work_dir: str) -> list[str]:
    """Return a note if the folder of a run that starts holds checkpoints of another one."""
    others = saved_checkpoints(Path(work_dir))
    if not others:
        return []
    return [
        f"{work_dir} holds another run's checkpoints ({len(others)}, the newest {others[0].name}): "
        'this run starts anew and will overwrite those of the same names, and --resume will not '
        f'use them. To keep them, take another --work-dir; to continue: --resume {others[0]}'
    ]


def check_pretrained(name: str) -> None:
    """Look for a pretrained checkpoint's file now: mmengine would after loading the data.

    Raises:
        UserError: it is not there.
    """
    if name.startswith(SCHEME):
        find_release(name)
    elif '://' not in name and not Path(name).expanduser().is_file():
        raise UserError(
            f'init_cfg: {Path(name).expanduser().absolute()}: no such checkpoint file; put it '
            'there, or train without pretrained weights (--from-scratch)'
        )


def _forget_initial_weights(runner: Runner) -> None:
    """Let a resumed run do without the pretrained files: all its weights are overwritten."""
    for module in runner.model.modules():
        if getattr(module, 'init_cfg', None):
            module.init_cfg = None


def batch_size_note(runner: Runner) -> str:
    """Return a line with the batch size, the one the learning rate is for, and the rate used."""
    cfg = runner.cfg
    each, counts = cfg.train_dataloader.batch_size, cfg.optim_wrapper.get('accumulative_counts', 1)
    total = each * runner.world_size * counts
    note = f'Batch size: {each} x {runner.world_size} processes'
    note += f' x {counts} accumulated = {total}' if counts > 1 else f' = {total}'
    scaling = cfg.get('auto_scale_lr') or {}
    base, rate = scaling.get('base_batch_size'), cfg.optim_wrapper.optimizer.get('lr')
    if not base or rate is None:
        return note
    base *= counts if scaling.get('enable') else 1  # as enable_auto_scale_lr divided it
    factor = total / base if scaling.get('enable') else 1
    note += f'; learning rate {rate * factor:g}'
    if scaling.get('enable'):
        note += f', scaled linearly from {rate:g} for {base:g}'
    elif base != total:
        note += f', which is for {base}: --auto-scale-lr would scale it'
    share = each * runner.world_size / base
    if cfg.train_cfg.get('max_iters') and share < 1 and total < base:
        note += f"; its iterations see {share:.3g} of the recipe's images: --mem would add some"
    return note
