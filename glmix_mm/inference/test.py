"""Scores a checkpoint of a detector, a segmentor or a classifier: what ``glmix test`` calls."""

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoints.fit import check_classes, check_fit, read
from ..config.load_config import load_config
from ..config.plan import (
    apply_data_root,
    match_by_name,
    register,
    set_work_dir,
    use_checked_metrics,
)
from ..data.dataset_checks import check_datasets, log
from ..data.ignored_label import share_ignored_label
from ..errors import UserError
from ..models.backbone import PyramidBackbone
from ..models.build import build_model
from ..training.error_context import blame_files
from ..training.official_weights_hook import accept_official
from ..training.runner_setup import build_runner, disk_guard, is_first_on_machine, start_processes
from ..training.sharding import leave_out_strategy
from ..utils.arguments import make_parser, parse
from ..utils.nested import unwrap
from ..utils.quiet import ScoringProgressHook, score_table
from ..utils.registry_errors import config_mistakes
from .coco_results import known_ids

PICKLES = ('.pkl', '.pickle')


def main(argv: Sequence[str]) -> int:
    """Test as the command line says; return the exit status.

    Raises:
        UserError: a mistake in the arguments, the config, the data or the checkpoint.
    """
    parser = make_parser('Score a checkpoint of a detector, a segmentor or a classifier.')
    parser.add_argument('checkpoint', help='a checkpoint that was trained with this config')
    parser.add_argument(
        '--out',
        help="where to save the predictions: a .json file (detection: COCO's results), a .pkl file "
        '(detection, with masks as run lengths; classification) or a folder for label maps '
        '(segmentation; PNG)',
    )
    parser.add_argument('--show-dir', help='folder to save pictures of the predictions in')
    parser.add_argument('--tta', action='store_true', help="the config's test-time augmentation")
    parser.add_argument(
        '--fuse', action='store_true', help="fold the backbone's norms and scales (faster)"
    )
    args = parse(parser, argv)
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    if args.data_root:
        apply_data_root(cfg, args.data_root)
    if args.gpus > 1 and args.launcher == 'none':
        return start_processes(args.gpus, 'test', argv)
    if args.out:
        save_predictions(cfg, args.out)
    if args.show_dir:
        save_pictures(cfg, args.show_dir)
    if not args.debug:
        warnings.filterwarnings('ignore', module='mm')  # of the libraries' own older ways
    test(cfg, args.checkpoint, args.tta, args.fuse, quiet=not args.debug)
    return 0


def test(
    cfg: Config, checkpoint: str, augment: bool = False, fuse: bool = False, quiet: bool = False
) -> dict:
    """Check that data and checkpoint fit the config, then score.

    Args:
        cfg: the whole config, ``work_dir`` and ``launcher`` included.
        checkpoint: the file.
        augment: whether to use the config's test-time augmentation.
        fuse: whether to fold the backbone's norms and scales once the checkpoint is loaded.
        quiet: whether to print no more than warnings, how far it is, and the scores. The log file
            in ``work_dir`` has all of it in any case.

    Returns:
        Each metric's name and value, as mmengine's Runner returns them.

    Raises:
        UserError: a mistake in the config, the data or the checkpoint, or a full disk.
    """
    for note in share_ignored_label(cfg):
        log(note)
    match_by_name(cfg)
    _leave_out_labels(cfg)
    if is_first_on_machine(cfg.launcher):
        with config_mistakes(cfg.filename):
            check_datasets(cfg, ['test'])
    _check_checkpoint(cfg, checkpoint)
    cfg.load_from = checkpoint
    cfg.resume = False
    leave_out_strategy(cfg)
    use_checked_metrics(cfg)
    if augment:
        use_augmentation(cfg)
    if fuse:
        _leave_out_averaging(cfg)
    if quiet and cfg.get('runner_type', 'Runner') == 'Runner':
        cfg.runner_type = 'QuietRunner'
    with disk_guard(cfg.work_dir), config_mistakes(cfg.filename), blame_files(cfg):
        runner = build_runner(cfg)
        if fuse:
            runner.register_hook(FuseHook())
        if not quiet:
            return runner.test()
        runner.register_hook(ScoringProgressHook())
        with contextlib.redirect_stdout(io.StringIO()):  # what pycocotools prints
            scores = runner.test()
    if runner.rank == 0:
        print(score_table(cfg, runner, scores), flush=True)
    return scores


def _leave_out_labels(cfg: Config) -> None:
    """Read no label maps where predictions are only written down: there may be none."""
    metrics = cfg.get('test_evaluator') or []
    metrics = metrics if isinstance(metrics, list) else [metrics]
    if cfg.get('default_scope') != 'mmseg' or not all(m.get('format_only') for m in metrics):
        return
    for dataset in unwrap(cfg.test_dataloader.dataset):
        dataset.pipeline = [s for s in dataset.pipeline if s['type'] != 'LoadAnnotations']


def _check_checkpoint(cfg: Config, path: str) -> None:
    model = build_model(cfg)
    content = accept_official(cfg, model, read(path), path)
    check_fit(model.state_dict(), content, path, cfg)
    check_classes(content, path, cfg, 'test')


def _leave_out_averaging(cfg: Config) -> None:
    """Drop the hook that would swap in, weight by weight, a copy of the model that is not fused.

    A checkpoint's ``state_dict`` holds the averaged weights already.
    """
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if not str(hook['type']).endswith('EMAHook')]


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
            raise UserError(f"--fuse: {kind} is none of this package's backbones; omit --fuse")
        model.backbone.eval()
        model.backbone.fuse()


def use_augmentation(cfg: Config) -> None:
    """Wrap the model and replace the pipeline as the config's ``tta_*`` entries say.

    Raises:
        UserError: the config has none.
    """
    missing = [name for name in ('tta_model', 'tta_pipeline') if not cfg.get(name)]
    if missing:
        raise UserError(
            f'--tta: {cfg.filename} has no {" and no ".join(missing)}, so no test-time '
            'augmentation is defined for it; test without --tta'
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in unwrap(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.tta_pipeline


def save_predictions(cfg: Config, out: str) -> None:
    """Save the predictions before they are scored: one file, or a label map per image.

    Raises:
        UserError: the path does not suit the task, or cannot be written to.
    """
    suffix = Path(out).suffix
    path = Path(out).absolute()
    there = next(parent for parent in path.parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f'--out {out}: {there} is not a folder that can be written to')
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    label_maps = [metric for metric in metrics if str(metric.get('type')).endswith('IoUMetric')]
    classifies = cfg.get('default_scope') == 'mmpretrain'
    if label_maps:
        if suffix in ('.json', *PICKLES) or Path(out).is_file():
            raise UserError(f'--out {out}: segmentation saves one PNG per image, so give a folder')
        for metric in label_maps:
            metric.output_dir = out
    elif suffix == '.json' and not classifies:
        register(cfg, 'glmix_mm.inference.metrics')
        ids = known_ids(cfg).categories
        dump = dict(type='CocoResults', out_file_path=out, category_ids=dict(ids))
    elif suffix in PICKLES:
        kind = 'DumpResults' if classifies else 'DumpDetResults'
        dump = dict(type=kind, out_file_path=out)
    else:
        ends = '.pkl' if classifies else '.json or .pkl'
        task = 'classification' if classifies else 'detection'
        raise UserError(f'--out {out}: {task} saves one file, which must end in {ends}')
    if not label_maps and path.is_dir():
        raise UserError(f'--out {out}: is a folder; give the name of a file')
    if not label_maps:  # first: a metric that fails must not lose what was inferred
        cfg.test_evaluator = [dump, *metrics]


def save_pictures(cfg: Config, folder: str) -> None:
    """Save a picture of every image's predictions, beside the ground truth where there is one.

    The least score of a detection is that of mmdet's own hook, where the config has it.
    """
    hook = dict(type='PredictionPictureHook', out_dir=str(Path(folder).absolute()))
    shown = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if 'score_thr' in shown:
        hook['score_thr'] = shown.score_thr
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
