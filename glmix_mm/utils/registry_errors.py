"""Clear lines for what mmengine's registries raise for a mistake in a config."""

import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from torch.utils.data import DataLoader

from ..errors import UserError
from .messages import did_you_mean, one_line

OLD_ARGUMENTS = {
    'samples_per_gpu': 'batch_size',
    'workers_per_gpu': 'num_workers',
    'img_prefix': 'data_prefix=dict(img=...)',
    'seg_prefix': 'data_prefix=dict(seg=...)',
    'img_dir': 'data_prefix=dict(img_path=...)',
    'ann_dir': 'data_prefix=dict(seg_map_path=...)',
    'classes': 'metainfo=dict(classes=...)',
    'palette': 'metainfo=dict(palette=...)',
    'grad_clip': 'clip_grad',
    'step': 'milestones',
    'min_lr': 'eta_min',
}


@contextmanager
def config_mistakes(name: str) -> Iterator[None]:
    """Turn what mmengine's registries raise for a mistake in a config into a clear line.

    Args:
        name: the config, for the message.

    Raises:
        UserError: a ``type`` that is not registered, or arguments that its class does not take.
    """
    try:
        yield
    except (KeyError, TypeError) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        builds = [frame for frame in frames if frame.f_code.co_name == 'build_from_cfg']
        if not builds:
            raise
        if isinstance(error, KeyError) and frames[-1] is builds[-1]:
            raise UserError(f'{name}: {_unregistered(builds[-1])}') from error
        last = frames[-1].f_code.co_name
        in_constructor = frames[-1] is builds[-1] or last in ('__init__', 'build_dataloader')
        in_constructor = in_constructor or '.__init__() ' in str(error)
        if isinstance(error, TypeError) and in_constructor and 'argument' in str(error):
            builder = builds[-1].f_locals.get('obj_cls')
            builder = DataLoader if last == 'build_dataloader' else builder
            unknown = re.search("unexpected keyword argument '(.+?)'", str(error))
            advice = argument_advice(unknown[1], builder) if unknown else ''
            raise UserError(f'{name}: {one_line(error)}{advice}') from error
        raise


def _unregistered(build: FrameType) -> str:
    """Describe the name that a call of mmengine's ``build_from_cfg`` did not find."""
    wanted, registry = build.f_locals.get('obj_type'), build.f_locals['registry']
    if wanted is None:
        return f'an entry that {registry.name} should build has no type: {build.f_locals["cfg"]}'
    names = set()
    while registry is not None:
        names.update(registry.module_dict)
        registry = registry.parent
    return (
        f'type {wanted!r} is not in the registry {build.f_locals["registry"].name!r}'
        f'{did_you_mean(wanted, names)} (its module may be missing from custom_imports)'
    )


def argument_advice(argument: str, builder: object) -> str:
    """Return what to write instead of an argument that a class does not take, or ''."""
    if argument in OLD_ARGUMENTS:
        return f' (of 2.x, in 3.x: {OLD_ARGUMENTS[argument]})'
    kinds = inspect.getmro(builder) if inspect.isclass(builder) else ()
    known = {name for kind in kinds[:-1] for name in inspect.signature(kind.__init__).parameters}
    return did_you_mean(argument, known - {'self', 'args', 'kwargs'})
