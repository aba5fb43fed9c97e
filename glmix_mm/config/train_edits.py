"""What training changes in a config: which classes save, loop and start, and from where."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from .edits import require

EXACT_LOOPS = dict(
    EpochBasedTrainLoop='ExactEpochBasedTrainLoop', IterBasedTrainLoop='ExactIterBasedTrainLoop'
)
TENSORBOARD = dict(type='TensorboardVisBackend')
WORKER_START = dict(type='end_with_parent')


def keep_last_checkpoint(cfg: Config) -> None:
    """Save checkpoints so that a full disk leaves the last one."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if hook and hook.get('type') == 'CheckpointHook':
        hook.type = 'SafeCheckpointHook'
        require(cfg, 'glmix_mm.training.checkpoint_hook')


def use_exact_loop(cfg: Config) -> None:
    """Train with a loop that can continue exactly where it stopped."""
    loop = cfg.get('train_cfg') or {}
    if 'type' not in loop and 'by_epoch' in loop:  # mmengine's short form
        loop.type = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
    if loop.get('type') in EXACT_LOOPS:
        loop.type = EXACT_LOOPS[loop.type]
        require(cfg, 'glmix_mm.training.exact_loops')
        for split in ('train', 'val'):
            if cfg.get(f'{split}_dataloader'):
                cfg[f'{split}_dataloader'].setdefault('worker_init_fn', WORKER_START)


def use_tensorboard(cfg: Config) -> None:
    """Log curves, and predictions on a few images after each validation, for TensorBoard.

    Raises:
        UserError: it is not installed.
    """
    if not find_spec('tensorboard'):
        raise UserError(
            "--tensorboard: no module tensorboard; install it: pip install 'glmix_mm[lite,app]'"
        )
    visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    if TENSORBOARD['type'] not in [backend['type'] for backend in backends]:
        backends = [*backends, TENSORBOARD]
    cfg.visualizer = dict(visualizer, vis_backends=backends)
    hook = dict(type='PredictionVisualizationHook')
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def start_from(cfg: Config, resume: bool, path: str | None) -> None:
    """Resume a checkpoint, load weights from it, or neither."""
    cfg.resume, cfg.load_from = resume, path


def take_seed(cfg: Config, saved: int | None) -> list[str]:
    """Continue with the seed of the run that saved a checkpoint: it ordered the data.

    Returns:
        A note if the config has another seed.
    """
    seed = (cfg.get('randomness') or {}).get('seed')
    if saved is None or saved == seed:
        return []
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=saved)
    return [] if seed is None else [f"The seed is the resumed run's, {saved}, not {seed}."]


def fit_recipe(cfg: Config, settings: Mapping) -> None:
    """Set batch, accumulation, learning rate and length as they were planned for a GPU."""
    cfg.merge_from_dict(dict(settings))


def set_schedulers(cfg: Config, schedulers: list[dict]) -> None:
    """Set the schedulers as they were fitted to the length of the run."""
    cfg.param_scheduler = schedulers


def rename_run(cfg: Config, number: int) -> None:
    """Keep this process's later runs apart: mmengine finds loggers and visualizers by name."""
    if number == 1:
        return
    cfg.experiment_name = f'{Path(cfg.filename or "run").stem}_{number}'
    if cfg.get('visualizer'):
        cfg.visualizer.name = f'{cfg.visualizer.get("name", "visualizer")}_{number}'
