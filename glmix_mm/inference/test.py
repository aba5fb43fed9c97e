"""Scores a checkpoint of a detector, a segmentor or a classifier: what ``glmix test`` calls."""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoints.fit import check_classes, check_fit, read
from ..config.load_config import load_config
from ..config.plan import TestOptions, finish_test, prepare, test_options
from ..data.dataset_checks import check_datasets, log
from ..errors import UserError
from ..models.backbone import PyramidBackbone
from ..models.build import build_model
from ..training.error_context import blame_files
from ..training.launchers import (
    check_launcher,
    check_same_config,
    is_first_on_machine,
    join_processes,
    start_processes,
    together,
    told_to_others,
)
from ..training.official_weights_hook import accept_official
from ..training.runner_setup import build_runner, disk_guard
from ..utils.arguments import parse
from ..utils.parsers import test_parser
from ..utils.quiet import ScoringProgressHook, score_table
from ..utils.registry_errors import config_mistakes
from .coco_results import known_ids


def main(argv: Sequence[str]) -> int:
    """Test as the command line says; return the exit status.

    Raises:
        UserError: a mistake in the arguments, the config, the data or the checkpoint.
    """
    args = parse(test_parser(), argv)
    check_launcher(args.launcher, args.gpus)
    with told_to_others(args.launcher):
        cfg = load_config(args.config, args.cfg_options, args.launcher)
        options = test_options(args, category_numbers_of)
        notes = prepare(cfg, options)
    if args.gpus > 1 and args.launcher == 'none':
        return start_processes(args.gpus, 'test', argv)
    if not args.debug:
        warnings.filterwarnings('ignore', module='mm')  # of the libraries' own older ways
    for note in notes:
        log(note)
    test(cfg, args.checkpoint, options)
    return 0


def category_numbers_of(cfg: Config) -> Mapping[str, int]:
    """Return the numbers of the categories in the annotation file that a config tests on."""
    return known_ids(cfg).categories


def test(cfg: Config, checkpoint: str, options: TestOptions) -> dict:
    """Check that data and checkpoint fit the config, then score.

    Args:
        cfg: the whole config, as :func:`~glmix_mm.config.plan.prepare` leaves it.
        checkpoint: the file.
        options: of the test. The log file in ``work_dir`` has all that a quiet one does not print.

    Returns:
        Each metric's name and value, as mmengine's Runner returns them.

    Raises:
        UserError: a mistake in the config, the data or the checkpoint, or a full disk.
    """
    join_processes(cfg)
    with together():
        if is_first_on_machine(cfg.launcher):
            with config_mistakes(cfg.filename):
                check_datasets(cfg, ['test'])
        _check_checkpoint(cfg, checkpoint)
        finish_test(cfg, options, checkpoint)
    with together():
        check_same_config(cfg)
    with disk_guard(cfg.work_dir), config_mistakes(cfg.filename), blame_files(cfg):
        runner = build_runner(cfg)
        if options.fuse:
            runner.register_hook(FuseHook())
        if not options.quiet:
            return runner.test()
        runner.register_hook(ScoringProgressHook())
        with contextlib.redirect_stdout(io.StringIO()):  # what pycocotools prints
            scores = runner.test()
    if runner.rank == 0:
        print(score_table(cfg, runner, scores), flush=True)
    return scores


def _check_checkpoint(cfg: Config, path: str) -> None:
    model = build_model(cfg)
    content = accept_official(cfg, model, read(path), path)
    check_fit(model.state_dict(), content, path, cfg)
    check_classes(content, path, cfg, 'test')


class FuseHook(Hook):
    """Fuses the backbone before the test, when the checkpoint is loaded."""

    def before_test(self, runner: Runner) -> None:
        """Fuse the backbone of the model, of whatever wraps it.

        Raises:
            UserError: the backbone is none of this package's.
        """
        model = runner.model
        while not hasattr(model, 'backbone') and hasattr(model, 'module'):
            model = model.module
        if not isinstance(getattr(model, 'backbone', None), PyramidBackbone):
            kind = type(getattr(model, 'backbone', model)).__name__
            raise UserError(f"--fuse: {kind} is not one of this package's backbones; omit --fuse")
        model.backbone.eval()
        model.backbone.fuse()
