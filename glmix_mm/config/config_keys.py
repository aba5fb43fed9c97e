"""Finds keys in a config file that nothing reads: those of mmdet and mmseg 2.x, and slips."""

import ast
import difflib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..compat.startup import config_root
from ..errors import UserError
from ..utils.messages import did_you_mean

# Top-level entries that mmengine reads from a config besides the runner's own arguments.
OTHER_ENTRIES = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)
ENTRIES = {*inspect.signature(Runner.__init__).parameters, *OTHER_ENTRIES} - {'self', 'cfg'}
# What a key of 2.x is in 3.x: full keys, the first of them the entry that takes its place.
OLD_KEYS = {
    'data': 'train_dataloader, val_dataloader and test_dataloader',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper (clip_grad=dict(max_norm=...))',
    'fp16': "optim_wrapper.type='AmpOptimWrapper'",
    'lr_config': 'param_scheduler (a warmup is a LinearLR before the others)',
    'momentum_config': 'param_scheduler',
    'runner': 'train_cfg (max_epochs or max_iters)',
    'total_epochs': 'train_cfg.max_epochs',
    'total_iters': 'train_cfg.max_iters',
    'max_epochs': 'train_cfg.max_epochs',
    'max_iters': 'train_cfg.max_iters',
    'workflow': 'train_cfg and val_cfg',
    'evaluation': 'val_evaluator, and train_cfg.val_interval',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger and visualizer.vis_backends',
    'dist_params': 'env_cfg.dist_cfg',
    'cudnn_benchmark': 'env_cfg.cudnn_benchmark',
    'mp_start_method': 'env_cfg.mp_cfg.mp_start_method',
    'opencv_num_threads': 'env_cfg.mp_cfg.opencv_num_threads',
    'resume_from': 'resume=True with load_from',
    'auto_resume': 'resume=True',
    'gpu_ids': 'launcher (or --gpus N)',
    'seed': 'randomness.seed',
    'deterministic': 'randomness.deterministic',
}
# Entries that mmengine reads with get(), so that a slip in them is never met.
SETTINGS = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
}
NEAR = 0.83  # likeness to a known entry; helpers such as test_dataset have less


def refuse_dead_keys(path: str) -> None:
    """Check that what the user's own files set at their top level is read by something.

    A config may have names of its own. So only keys of 2.x and misspelt known keys are refused, and
    only if no file reads them and the right key is not beside them. Files of
    installed packages are left alone: some of theirs keep such keys.

    Raises:
        UserError: a key that has no effect; the message names the one that has.
    """
    files = {file: _parse(file) for file in _own_files(path)}
    read = set().union(*(names for _, names in files.values()))
    for file, (keys, _) in files.items():
        found = {key: _advice(key, keys) for key in sorted(keys - read - ENTRIES)}
        dead = [f'{key!r} {advice}' for key, advice in found.items() if advice]
        if dead:
            raise UserError(f'config {file}: nothing reads {"; ".join(dead)}')


def _advice(key: str, beside: set[str]) -> str:
    """Return what takes a key's place, or '' if it is a name of the user's own."""
    new = OLD_KEYS.get(key)
    if new:
        entry = new.replace(',', ' ').replace('.', ' ').replace('=', ' ').split()[0]
        return '' if entry in beside else f'(of mmdet/mmseg 2.x, in 3.x: {new})'
    near = difflib.get_close_matches(key, sorted(ENTRIES - {'tta_pipeline'}), n=1, cutoff=NEAR)
    return f'(did you mean {near[0]}?)' if near and near[0] not in beside else ''


def _own_files(path: str) -> Iterator[str]:
    """Yield a config file and its bases, without those of installed packages."""
    full = Path(path).absolute()
    if '.mim' in full.parts or full.resolve().is_relative_to(config_root().resolve()):
        return
    yield path
    for base in Config._get_base_files(path):
        yield from _own_files(Config._get_cfg_path(base, path)[0])


def _parse(path: str) -> tuple[set[str], set[str]]:
    """Return the names that a config file sets at its top level, and those that it reads."""
    if Path(path).suffix != '.py':
        return set(load(path)), set()
    text = Path(path).read_text(encoding='utf-8')
    try:
        tree = ast.parse(text)
    except SyntaxError:  # until mmengine has filled in its {{ $VARIABLE:default }}
        return set(), set()
    targets = [name for node in tree.body for name in getattr(node, 'targets', [])]
    keys = {name.id for name in targets if isinstance(name, ast.Name)} - {'_base_'}
    nodes = list(ast.walk(tree))
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    read |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}  # _base_.key
    return keys, read | {key for key in keys if f'_base_.{key}' in text}  # '{{_base_.key}}'


def refuse_unread_arguments(cfg: Mapping) -> None:
    """Check the settings that mmengine takes without a look, or meets only when it saves.

    Raises:
        UserError: one that neither the checkpoint hook nor the saving of a checkpoint knows, or
            that nothing reads.
    """
    for entry, names in SETTINGS.items():
        for key in sorted(set(cfg.get(entry) or {}) - names - {'_delete_', '_scope_'}):
            raise UserError(
                f'{entry}.{key}: nothing reads it{did_you_mean(key, names)}; {entry} takes '
                f'{", ".join(sorted(names))}'
            )
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not isinstance(hook, Mapping):
        raise UserError(f'default_hooks.checkpoint: settings expected (dict(...)), found {hook!r}')
    known = {'type', 'priority', '_scope_', '_delete_'}
    for function in (CheckpointHook.__init__, Runner.save_checkpoint):
        known |= set(inspect.signature(function).parameters)
    known -= {'self', 'kwargs', 'filename', 'meta'}
    for key in hook:
        if str(hook.get('type')).endswith('CheckpointHook') and key not in known:
            raise UserError(
                f'default_hooks.checkpoint.{key}: {hook.get("type")} has no such argument'
                f'{did_you_mean(key, known)}'
            )
