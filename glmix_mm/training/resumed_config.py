"""Says what of a config a resumed run does not take over, and what it changes on the way."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from ..checkpoints.record import settings_of

# What comes with the checkpoint: the optimizer's settings of each parameter, the schedule's state.
KEPT = (
    'optim_wrapper.optimizer',
    'optim_wrapper.constructor',
    'optim_wrapper.paramwise_cfg',
    'auto_scale_lr',
    'param_scheduler',
)
CHANGED = ('optim_wrapper', 'train_dataloader')  # the rest of these is the config's
# These change no result.
FREE = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'worker_init_fn')
LONGEST = 60  # characters of a value


def describe_changes(cfg: Config, meta: Mapping, path: str) -> list[str]:
    """Compare a config with the one that a checkpoint was trained with.

    Args:
        cfg: the config to continue with.
        meta: the checkpoint's; its config is read, not run.
        path: the checkpoint.

    Returns:
        What to report.
    """
    before = settings_of(meta)
    if not before:
        return []
    now, kept, changed = cfg.to_dict(), [], []
    for key in sorted({name.split('.')[0] for name in KEPT + CHANGED}):
        for name, old, new in differences(key, before.get(key), now.get(key)):
            if any(name == part or name.startswith(f'{part}.') for part in KEPT):
                kept.append(f'{name}: {short(old)}, not {short(new)}')
            elif name.removeprefix('train_dataloader.') not in FREE:
                changed.append(f'{name}: {short(new)}, so far {short(old)}')
    notes = []
    if kept:
        notes.append(
            f'--resume continues with the settings of {path}: {"; ".join(kept)}. To train '
            f"anew from its weights with the config's settings: --cfg-options load_from={path} and "
            'another --work-dir, without --resume'
        )
    if changed:
        notes.append(f'From here on the run differs from the one resumed: {"; ".join(changed)}')
    return notes


def describe_end(cfg: Config, meta: Mapping) -> list[str]:
    """Return a note if a checkpoint is of the end of the training, so that nothing is left."""
    loop = cfg.train_cfg
    for unit, limit in (('epoch', loop.get('max_epochs')), ('iter', loop.get('max_iters'))):
        if limit and meta[unit] >= limit:
            name = 'max_epochs' if unit == 'epoch' else 'max_iters'
            return [
                f'Nothing is left to train: {meta[unit]} of {limit} done (train_cfg.{name}); raise '
                'it to continue'
            ]
    return []


def differences(name: str, old, new) -> Iterator[tuple[str, object, object]]:
    """Yield the name and both values of each setting that differs; None for one that is absent."""
    if isinstance(old, tuple):
        old = list(old)
    if isinstance(new, tuple):
        new = list(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(f'{name}.{key}', old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(f'{name}.{number}', *pair)
    elif old != new:
        yield name, old, new


def short(value) -> str:
    """Return a value as Python writes it, cut if long."""
    text = 'nothing' if value is None else repr(value)
    return text if len(text) <= LONGEST else f'{text[:LONGEST]}...'
