"""Edits that commands share: folders, seeds, precision, weights, metrics; plan.py has the order."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from ..errors import UserError
from ..utils.nested import SPLITS, nested_dicts, unwrap

METRICS = 'glmix_mm.inference.metrics'
KERNEL_CACHES = ('ONEDNN_PRIMITIVE_CACHE_CAPACITY', 'LRU_CACHE_CAPACITY')
KERNELS = '100'
CHECKED_METRICS = dict(CocoMetric='CheckedCocoMetric', VOCMetric='CheckedVOCMetric')


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Set the folder for logs and checkpoints: the option's, the config's, or work_dirs/NAME."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def set_randomness(cfg: Config, seed: int | None, deterministic: bool) -> None:
    """Set the seed, and whether each operation must give the same in each run.

    Raises:
        UserError: the seed is negative.
    """
    if seed is not None and not 0 <= seed < 2**31:
        raise UserError(f'--seed {seed}: expected a number from 0 to {2**31 - 1}')
    changes = {} if seed is None else dict(seed=seed)
    if deterministic:
        changes['deterministic'] = True
        # CUDA's matrix products ask for this; it is read when the first of them runs.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if changes:
        cfg.randomness = dict(cfg.get('randomness') or {}, **changes)


def bound_kernel_caches() -> None:
    """On a CPU, let PyTorch keep the kernels of 100 shapes, unless the user said otherwise.

    Its own 1024 fill up where every image has another size, and none of them is used again. They
    are read when the first kernel is made.
    """
    if get_device() == 'cpu':
        for name in KERNEL_CACHES:
            os.environ.setdefault(name, KERNELS)


def require(cfg: Config, module: str) -> None:
    """Import a module that registers what the config names, and add it to its custom imports.

    So its dump works in any other tool.
    """
    importlib.import_module(module)
    imports = cfg.get('custom_imports') or dict(imports=[])
    names = imports['imports']
    names = [names] if isinstance(names, str) else list(names)
    if module not in names:
        cfg.custom_imports = dict(imports, imports=[*names, module])


def use_checked_metrics(cfg: Config) -> None:
    """Score with this package's metrics where mmdet's take the defaults for granted."""
    for metric in nested_dicts([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        kind = str(metric.get('type')).removeprefix('mmdet.')
        if kind in CHECKED_METRICS:
            metric['type'] = CHECKED_METRICS[kind]
            require(cfg, METRICS)


def match_by_name(cfg: Config) -> None:
    """Number the classes of COCO's json files by their names, not in the order of each file."""
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in unwrap(loader.dataset) if loader else ():
            if str(dataset.get('type')).removeprefix('mmdet.') == 'CocoDataset':
                dataset['type'] = 'CocoDatasetByName'
                require(cfg, 'glmix_mm.data.coco_by_name')


def enable_amp(cfg: Config) -> None:
    """Train in mixed precision: what suits the GPU, bfloat16 on a CPU.

    Raises:
        UserError: the config's optimizer wrapper is of an unknown type.
    """
    wrapper = cfg.optim_wrapper
    known = ('OptimWrapper', 'AmpOptimWrapper', 'AutoAmpOptimWrapper')
    if wrapper.get('type', 'OptimWrapper') not in known:
        raise UserError(
            f'--amp: {cfg.filename} has optim_wrapper.type={wrapper.type!r}; '
            f'expected one of {", ".join(known)}'
        )
    wrapper.type = 'AutoAmpOptimWrapper'
    if wrapper.get('dtype') == 'float32':
        del wrapper.dtype
    if get_device() == 'cpu':
        wrapper.setdefault('dtype', 'bfloat16')
    require(cfg, 'glmix_mm.training.amp')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Let mmengine scale the learning rate with the batch size.

    Gradient accumulation counts: a batch is what one step of the optimizer sees.

    Raises:
        UserError: the config does not say which batch size its learning rate is for.
    """
    base = base_batch_size(cfg, '--auto-scale-lr')
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=base / counts if counts > 1 else base)


def base_batch_size(cfg: Config, option: str) -> int:
    """Return how many images per step the config's learning rate is for.

    Args:
        cfg: the config.
        option: what needs it, for the message.

    Raises:
        UserError: the config does not say.
    """
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base:
        raise UserError(
            f'{option}: {cfg.filename} does not state the batch size of its learning rate; '
            'give it, such as --cfg-options auto_scale_lr.base_batch_size=16'
        )
    return base


def from_scratch(cfg: Config) -> None:
    """Drop every pretrained checkpoint from the model's config, and ``load_from``."""
    drop_pretrained(cfg.model)
    cfg.load_from = None


def drop_pretrained(model: ConfigDict) -> None:
    """Drop every pretrained checkpoint from a model's config."""
    for settings in nested_dicts(model):
        inits = settings.get('init_cfg') or []
        inits = [inits] if isinstance(inits, dict) else inits
        kept = [init for init in inits if init.get('type') != 'Pretrained']
        if len(kept) < len(inits):
            settings['init_cfg'] = kept or None
        if 'pretrained' in settings:  # mmseg's older way
            settings['pretrained'] = None


def pretrained_checkpoints(model: ConfigDict) -> Iterator[str]:
    """Yield the checkpoints that the ``init_cfg`` entries of a model's config name."""
    for settings in nested_dicts(model):
        if settings.get('type') == 'Pretrained':
            yield settings['checkpoint']


def rename_official_weights(cfg: Config) -> None:
    """Have the run give an official checkpoint's tensors their names here."""
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='OfficialWeightsHook')]
    require(cfg, 'glmix_mm.training.official_weights_hook')
