"""The plan of a run: every edit that a command makes to a config, in order.

Commands load a config, have it prepared here, check data and checkpoints, and then say from which
file the run starts. Nothing else changes it. ``glmix config`` prints what comes out.
"""

import difflib
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from mmengine.config import Config

from .checked_parts import use_checked_parts
from .classes import Found, use_found
from .data_root import apply_data_root
from .edits import (
    enable_amp,
    enable_auto_scale_lr,
    from_scratch,
    match_by_name,
    set_randomness,
    set_work_dir,
    use_checked_metrics,
)
from .ignored_label import share_ignored_label
from .process_edits import refuse_strategy
from .test_edits import (
    leave_out_averaging,
    leave_out_labels,
    save_pictures,
    save_predictions,
    score,
    use_augmentation,
)
from .train_edits import keep_last_checkpoint, use_exact_loop, use_tensorboard


@dataclass(frozen=True)
class Options:
    """What a command line asks of a config.

    Attributes:
        launcher: what started the processes.
        work_dir: folder for logs and checkpoints.
        data_root: folder of the data set.
        read_classes: finds the files and classes of the config's data set, to be used for it.
    """

    launcher: str = 'none'
    work_dir: str | None = None
    data_root: str | None = None
    read_classes: Callable[[Config], Found] | None = None


@dataclass(frozen=True)
class TrainOptions(Options):
    """What ``glmix train`` asks.

    Attributes:
        seed: of everything random.
        deterministic: whether each run with the same seed gives the same bits.
        from_scratch: whether to leave out pretrained weights.
        amp: whether to train in mixed precision.
        auto_scale_lr: whether the learning rate follows the batch size.
        tensorboard: whether TensorBoard gets curves and pictures.
    """

    seed: int | None = None
    deterministic: bool = False
    from_scratch: bool = False
    amp: bool = False
    auto_scale_lr: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class TestOptions(Options):
    """What ``glmix test`` asks.

    Attributes:
        out: where to save predictions.
        read_ids: returns the numbers of a data set's categories, by name, for ``out``.
        show_dir: folder for pictures.
        tta: whether to use the config's test-time augmentation.
        fuse: whether the backbone is fused.
        quiet: whether the screen gets warnings and scores alone.
    """

    __test__ = False  # pytest would collect it

    out: str | None = None
    read_ids: Callable[[Config], Mapping] = lambda cfg: {}
    show_dir: str | None = None
    tta: bool = False
    fuse: bool = False
    quiet: bool = False


def train_options(args: Namespace, read_classes: Callable[..., Found]) -> TrainOptions:
    """Return the options of ``glmix train`` from parsed arguments.

    Args:
        args: of a parser with :func:`~glmix_mm.utils.arguments.add_train_options`.
        read_classes: what ``--classes-from-data`` and ``--classes`` call.
    """
    if args.classes:
        read_classes = partial(read_classes, class_file=args.classes)
    return TrainOptions(
        launcher=args.launcher,
        work_dir=args.work_dir,
        data_root=args.data_root,
        read_classes=read_classes if args.classes_from_data or args.classes else None,
        seed=args.seed,
        deterministic=args.deterministic,
        from_scratch=args.from_scratch,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        tensorboard=args.tensorboard,
    )


def test_options(args: Namespace, read_ids: Callable[[Config], Mapping]) -> TestOptions:
    """Return the options of ``glmix test`` from parsed arguments.

    Args:
        args: of a parser with :func:`~glmix_mm.utils.arguments.add_test_options`.
        read_ids: returns the numbers of a data set's categories, by name.
    """
    return TestOptions(
        launcher=args.launcher,
        work_dir=args.work_dir,
        data_root=args.data_root,
        out=args.out,
        read_ids=read_ids,
        show_dir=args.show_dir,
        tta=args.tta,
        fuse=args.fuse,
        quiet=not args.debug,
    )


test_options.__test__ = False


def prepare(cfg: Config, options: Options) -> list[str]:
    """Change a config as a command line asks, and name this package's classes in it.

    Args:
        cfg: as :func:`~glmix_mm.config.load_config.load_config` returns it.
        options: of the command; those of :class:`Options` alone prepare the data sets.

    Returns:
        What to report about it.

    Raises:
        UserError: an option does not suit the config.
    """
    cfg.launcher = options.launcher
    set_work_dir(cfg, options.work_dir)
    if options.data_root:
        apply_data_root(cfg, options.data_root)
    notes = share_ignored_label(cfg)
    if options.read_classes:
        notes = [*use_found(cfg, options.read_classes(cfg)), *notes]
    match_by_name(cfg)
    use_checked_metrics(cfg)
    if isinstance(options, TrainOptions):
        _prepare_training(cfg, options)
    if isinstance(options, TestOptions):
        _prepare_test(cfg, options)
    return notes


def _prepare_training(cfg: Config, options: TrainOptions) -> None:
    refuse_strategy(cfg)
    set_randomness(cfg, options.seed, options.deterministic)
    if options.from_scratch:
        from_scratch(cfg)
    if options.amp:
        enable_amp(cfg)
    if options.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if options.tensorboard:
        use_tensorboard(cfg)
    keep_last_checkpoint(cfg)
    use_exact_loop(cfg)
    use_checked_parts(cfg, ['train', 'val'])


def _prepare_test(cfg: Config, options: TestOptions) -> None:
    leave_out_labels(cfg)
    if options.out:
        save_predictions(cfg, options.out, options.read_ids)
    if options.show_dir:
        save_pictures(cfg, options.show_dir)
    if options.fuse:
        leave_out_averaging(cfg)


def finish_test(cfg: Config, options: TestOptions, checkpoint: str) -> None:
    """Change a prepared config to score a checkpoint, once that is known to fit its model."""
    score(cfg, checkpoint, options.quiet)
    if options.tta:
        use_augmentation(cfg)  # which wraps the model
    use_checked_parts(cfg, ['test'])


def difference(before: Config, after: Config) -> str:
    """Return the unified diff of two configs as Python."""
    texts = [cfg.pretty_text.splitlines() for cfg in (before, after)]
    return '\n'.join(difflib.unified_diff(*texts, 'config file', 'run', n=2, lineterm=''))
