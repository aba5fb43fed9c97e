"""How the command lines take options and end: one clear line for a mistake that a user can mend."""

import argparse
import ast
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import torch
from mmengine.config import DictAction
from torch import distributed

from ..errors import UserError
from .quiet import harmless_hidden

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
LONGEST = 4000  # characters of a message


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call ``main(argv)`` and return the process's exit status: what it returned, or 0.

    A :class:`~glmix_mm.errors.UserError` becomes the last line of stderr, ``error: ...``, and
    status 1; Ctrl-C becomes status 130, SIGTERM in training 143. With ``--debug`` the traceback
    comes first. Any other exception is a fault of the program and keeps its traceback.

    Args:
        main: takes the arguments of the command line.
        argv: those arguments; by default the process's own.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with contextlib.nullcontext() if '--debug' in argv else harmless_hidden():
            status = main(argv) or 0
        if distributed.is_initialized():
            # Else its threads can end a process that is done with SIGABRT (seen with gloo).
            distributed.destroy_process_group()
        return status
    except UserError as error:
        if '--debug' in argv:
            traceback.print_exc()
        sys.stdout.flush()
        print(f'error: {one_line(error)}', file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt as stop:
        sys.stdout.flush()
        said = str(stop) if hasattr(stop, 'signum') else 'interrupted'
        if said:  # of several processes, one says it
            print(said, file=sys.stderr, flush=True)
        return 128 + getattr(stop, 'signum', signal.SIGINT)


def one_line(error: BaseException) -> str:
    """Return an exception's message as one line.

    Of an exception that a data loader's worker raised, whose message is the worker's traceback,
    this is the last line.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if any(line.startswith('Original Traceback') for line in lines):
        lines = [lines[-1].removeprefix(f'{type(error).__module__}.{type(error).__qualname__}: ')]
    return printable(' '.join(lines))


def printable(text: str) -> str:
    """Return a text without control characters, which names in files may hold, and cut if long."""
    if len(text) > LONGEST:
        text = f'{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}'
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def find_device(name: str | None, option: str = '--device ') -> torch.device:
    """Return the device of a name; by default CUDA's first one where there is one.

    Args:
        name: 'cpu', 'cuda' or 'cuda:N'.
        option: what the user gave it by, for messages.

    Raises:
        UserError: no such device.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = name or ('cuda' if found else 'cpu')
    kind, _, number = name.partition(':')
    if kind not in ('cpu', 'cuda') or (number and not number.isdigit()):
        raise UserError(f'{option}{name}: expected cpu, cuda or cuda:N')
    if kind == 'cuda' and int(number or 0) >= found:
        raise UserError(f'{option}{name}: torch finds {found} CUDA devices; use {option}cpu')
    return torch.device(name)


class OptionsAction(DictAction):
    """mmengine's ``KEY=VALUE`` options, with a clear error for what it cannot read."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Add the options to the namespace's dict.

        Raises:
            UserError: one of them is not of the form KEY=VALUE.
        """
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            raise UserError(
                f'{option_string} {" ".join(values)}: expected KEY=VALUE ..., such as '
                'train_dataloader.batch_size=4 or model.backbone.out_indices="[1,2,3]"; '
                f'{one_line(error)}'
            ) from error

    @staticmethod
    def _parse_iterable(val: str):
        """Read a value; mmengine's own reading leaves dicts as strings."""
        if not val.lstrip('[( ').startswith(('dict(', '{')):
            return DictAction._parse_iterable(val)
        try:
            return _literal(ast.parse(val.strip(), mode='eval').body)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f'{val} is not a dict of plain values: {one_line(error)}') from error


def _literal(node: ast.expr):
    """Evaluate a literal in which dicts may be written as ``dict(key=value)``."""
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        return dict(zip(map(_literal, node.keys), map(_literal, node.values), strict=True))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        return {pair.arg: _literal(pair.value) for pair in node.keywords}
    return ast.literal_eval(node)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that training and testing share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'config', help='a config file, or the name of one that comes with this package'
    )
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument(
        '--data-root',
        help='folder of the data set in its official layout, or one that holds it as coco/, '
        'ade/ADEChallengeData2016/ or imagenet/',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='settings to change in the config: a.b=1, a.c="[1,2]", a.d="(1,2)"',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        metavar='N',
        help='start N processes, one a GPU, or on the CPU where there are no GPUs (1)',
    )
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='what started the processes (none)'
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        '--debug',
        action='store_true',
        help='print the traceback of an error as well, and in a test all that the log file has',
    )
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments and pass the rank on to where mmengine looks for it.

    Raises:
        UserError: a number of GPUs below 1.
    """
    args = parser.parse_args(argv)
    if args.gpus < 1:
        raise UserError(f'--gpus {args.gpus}: expected a number above 0')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args
