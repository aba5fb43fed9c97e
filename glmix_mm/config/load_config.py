"""Loads configs, with a clear line for every way in which that fails."""

import copy
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from mmengine.config import Config

from ..compat.startup import CONFIG_PREFIX, config_root, resolve_config
from ..errors import UserError
from ..utils.messages import did_you_mean, one_line
from ..utils.nested import nested_dicts
from .config_keys import ENTRIES, OLD_KEYS, refuse_dead_keys, refuse_unread_arguments

ENDINGS = ('.py', '.json', '.yaml', '.yml')
SCOPE = re.compile(r"(, )?'_scope_': '\w+'")  # which mmengine adds to some copies
SHOWN = 4  # places that a message names
# What mmengine raises for an option that does not fit the config's structure.
MERGE_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def load_config(name: str, options: Mapping | None = None, launcher: str = 'none') -> Config:
    """Load a config and change settings in it.

    Args:
        name: a file, ``glmix_mm::NAME``, or the bare name of a config of this package.
        options: full keys and their values, such as ``{'model.backbone.arch': '9g'}``.
        launcher: what started the processes.

    Raises:
        UserError: no such config, an error in it (with its file and line), or an option that
            does not fit it.
    """
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
        refuse_dead_keys(path)
    except UserError:
        raise
    except Exception as error:  # a config is code: anything can happen in it
        raise UserError(f'config {_location(error, path)}: {_reason(error)}') from error
    if options:
        _merge(cfg, options, name)
    refuse_unread_arguments(cfg)
    _free_idle_loaders(cfg)
    if launcher == 'none':
        _leave_out_mmcvs_norms(cfg)
    return cfg


def _free_idle_loaders(cfg: Config) -> None:
    """Drop what a data loader can only do with workers where ``num_workers`` is 0."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader and loader.get('num_workers') == 0:
            loader.persistent_workers = False
            loader.pop('prefetch_factor', None)


def _leave_out_mmcvs_norms(cfg: Config) -> None:
    """Make mmcv's synchronised batch norms plain ones: several processes alone can build them.

    mmengine does so after it has built a model for one process.
    """
    for norm in nested_dicts(cfg.get('model')):
        if norm.get('type') == 'MMSyncBN':
            norm['type'] = 'BN'
            norm.pop('stats_mode', None)


def find_config(name: str) -> str:
    """Return the path of a config given by its path or its name (see :func:`load_config`).

    Raises:
        UserError: no such config; the message says where it was looked for and lists similar
            names.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        raise UserError(f'config {path.absolute()} is a folder; give one of the files in it')
    if path.is_file():
        if path.suffix not in ENDINGS:
            raise UserError(f'config {path.absolute()}: expected a file in {", ".join(ENDINGS)}')
        return str(path)
    shipped = name.removeprefix(CONFIG_PREFIX)
    try:
        return resolve_config(shipped)
    except (FileNotFoundError, ValueError):  # ValueError: a path outside the configs' folder
        raise UserError(_not_found(name, path)) from None


def _not_found(name: str, path: Path) -> str:
    root = config_root()
    if name.startswith(CONFIG_PREFIX):
        looked = f'there is no {name.removeprefix(CONFIG_PREFIX)} in {root}'
    else:
        looked = f'there is no file {path.absolute()}, nor one of this name in {root}'
    names = {file.relative_to(root).as_posix() for file in root.rglob('*.py')}
    names = {file for file in names if not file.startswith('_base_')}
    if path.parent.is_dir():
        names |= {file.name for file in path.parent.glob('*.py')}
    wanted = path.with_suffix('.py').name.removeprefix(CONFIG_PREFIX)
    return f'no such config: {name}; {looked}{did_you_mean(wanted, names)}'


def _merge(cfg: Config, options: Mapping, name: str) -> None:
    known = {*cfg, *ENTRIES}
    for key in options:
        entry = key.split('.')[0]
        if entry in OLD_KEYS and entry not in ENTRIES:
            raise UserError(
                f'--cfg-options {key}: {entry!r} is a key of mmdet/mmseg 2.x, in 3.x: '
                f'{OLD_KEYS[entry]}'
            )
        if entry not in known:
            raise UserError(
                f'--cfg-options {key}: {name} has no entry {entry!r}{did_you_mean(entry, known)}'
            )
        if entry not in ENTRIES:  # the entries that it went into have their own copies
            read = {key: value for key, value in cfg.items() if key in ENTRIES}
            used = ', '.join(islice(_places(read, cfg[entry]), SHOWN))
            raise UserError(
                f'--cfg-options {key}: {entry} is a variable of the config file, which is only '
                'read while the file is loaded; set the entries that use it'
                + (f', such as {used}' if used else '')
            )
    try:
        cfg.merge_from_dict(dict(options))
    except MERGE_ERRORS as error:
        keys = [key for key in options if not _fits(cfg, key, options[key])] or options
        raise UserError(f'--cfg-options {" ".join(keys)}: {name}: {_reason(error)}') from error


def _places(node: object, value: object, path: str = '') -> Iterator[str]:
    """Yield the full keys in a nest that hold a value: a text, a list or a dict."""
    same = node == value or SCOPE.sub('', repr(node)) == SCOPE.sub('', repr(value))
    if path and same and isinstance(value, (str, list, tuple, dict)):
        yield path
    elif isinstance(node, (dict, list, tuple)):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(inner, value, f'{path}.{key}' if path else str(key))


def _fits(cfg: Config, key: str, value: object) -> bool:
    try:
        copy.deepcopy(cfg).merge_from_dict({key: value})
    except MERGE_ERRORS:
        return False
    return True


def _location(error: Exception, path: str) -> str:
    """Return the config file that an exception comes from, with the line if that is known."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if isinstance(error, SyntaxError):
        # mmengine parses strings, so only its variables know which file it is at.
        names = [path, *(frame.f_locals.get('filename') for frame, _ in frames), error.filename]
        name = [name for name in names if name and Path(name).is_file()][-1]
        return f'{os.path.normpath(name)}:{error.lineno}'
    lines = [
        f'{frame.f_code.co_filename}:{line}'
        for frame, line in frames
        if frame.f_code.co_name == '<module>' and frame.f_code.co_filename.endswith('.py')
    ]
    return lines[-1] if lines else path


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f'{type(error).__name__}: {error.msg}'
    while isinstance(error, ImportError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__  # mmengine's own lists sys.path
    text = error.args[0] if isinstance(error, KeyError) and error.args else one_line(error)
    return f'{type(error).__name__}: {text}'
