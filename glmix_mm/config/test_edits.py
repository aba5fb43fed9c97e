"""What testing changes in a config: augmentation, what is written down, and what is left out."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from ..utils.nested import unwrap
from .checked_parts import LABELS
from .edits import METRICS, require

PICKLES = ('.pkl', '.pickle')


def leave_out_labels(cfg: Config) -> None:
    """Read no label maps where predictions are only written down: there may be none."""
    metrics = cfg.get('test_evaluator') or []
    metrics = metrics if isinstance(metrics, list) else [metrics]
    if cfg.get('default_scope') != 'mmseg' or not all(m.get('format_only') for m in metrics):
        return
    for dataset in unwrap(cfg.test_dataloader.dataset):
        kept = [s for s in dataset.pipeline if s['type'] not in (LABELS, 'LoadAnnotations')]
        dataset.pipeline = kept


def leave_out_averaging(cfg: Config) -> None:
    """Drop the hook that would swap in, weight by weight, a copy of the model that is not fused.

    A checkpoint's ``state_dict`` holds the averaged weights already.
    """
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if not str(hook['type']).endswith('EMAHook')]


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


def save_predictions(cfg: Config, out: str, read_ids: Callable[[Config], Mapping]) -> None:
    """Save the predictions before they are scored: one file, or a label map per image.

    Args:
        cfg: the config.
        out: the file or folder.
        read_ids: returns the numbers that a data set gives its categories, by their names.

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
        require(cfg, METRICS)
        dump = dict(type='CocoResults', out_file_path=out, category_ids=dict(read_ids(cfg)))
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


def score(cfg: Config, checkpoint: str, quiet: bool) -> None:
    """Test a checkpoint, on the whole model even if the config shards it.

    Args:
        cfg: the config.
        checkpoint: the file.
        quiet: whether the screen gets warnings and scores alone.
    """
    cfg.load_from, cfg.resume = checkpoint, False
    if cfg.pop('strategy', None):
        cfg.runner_type = 'Runner'
    if quiet and cfg.get('runner_type', 'Runner') == 'Runner':
        cfg.runner_type = 'QuietRunner'


def name_test_pipeline(cfg: Config) -> None:
    """Name the pipeline of the test set where mmdet's and mmseg's own functions look for it."""
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
