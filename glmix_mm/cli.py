"""The command line: ``glmix COMMAND``, ``python -m glmix_mm COMMAND`` and the files of tools/.

Nothing here imports torch before the command is known, so ``glmix --help`` answers at once.
"""

import atexit
import contextlib
import difflib
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import glmix_mm

from .errors import UserError
from .utils import parsers
from .utils.collector import collection_paused
from .utils.commands import COMMANDS, restart_in_utf8, spelled, survive_any_terminal, usage

PIPE_CLOSED = 13  # SIGPIPE, which Windows' Python does not name
ENVIRONMENT = {
    # Threads that wait by spinning for long slow each other down (tenfold) when other programs use
    # the cores as well; those that don't spin at all are a third slower when none does.
    'demo': {'GOMP_SPINCOUNT': '2000'},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit status."""
    restart_in_utf8()
    survive_any_terminal()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _call(argv)
        sys.stdout.flush()
        _leave_others(status)
        return status
    except BrokenPipeError:
        try:
            os.write(sys.stdout.fileno(), b'\n')
        except BrokenPipeError:  # of `glmix ... | head`, which has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + PIPE_CLOSED
        raise


def _leave_others(status: int) -> None:
    """End the process here if it is one of several, with what Python does at its exit.

    While an interpreter shuts down, a thread of gloo that frees a tensor ends the process with
    SIGABRT (seen on a busy machine, after the group was destroyed).
    """
    distributed = sys.modules.get('torch.distributed')
    if not (distributed and distributed.is_available() and distributed.is_initialized()):
        return
    several = distributed.get_world_size() > 1
    if status == 0:
        distributed.destroy_process_group()
    if not several:
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _call(argv: list[str]) -> int:
    """Call the command that the arguments name; return its exit status."""
    name = argv.pop(0) if argv else ''
    if name in ('', '-h', '--help'):
        print(usage(), file=sys.stdout if name else sys.stderr)
        return 0 if name else 2
    if name == '--version':
        print(f'glmix_mm {glmix_mm.__version__}')
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f'; did you mean {near[0]}?' if near else ''
        print(f'{usage()}\n\nerror: no command {name!r}{meant}', file=sys.stderr)
        return 2
    command = COMMANDS[name]
    sys.argv[0] = spelled(name)  # what --help and mistakes in the arguments show
    for variable, value in ENVIRONMENT.get(name, {}).items():  # read when torch is imported
        os.environ.setdefault(variable, value)
    if not command.bare and {'-h', '--help'}.intersection(argv):
        parser = getattr(parsers, f'{name.replace("-", "_")}_parser')()
        parser.parse_args(argv)  # prints the help and exits
    needs_set_up = not command.bare and not glmix_mm.is_set_up
    with collection_paused():
        if needs_set_up:
            glmix_mm.set_up()
        call = importlib.import_module(f'.{command.module}', 'glmix_mm').main
        if needs_set_up:
            gc.freeze()  # what was imported stays, so no later search goes through it
            atexit.register(gc.unfreeze)  # else nanobind reports triton's types as leaked
    if command.bare:
        return call(argv)
    return run(call, argv)


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call ``main(argv)`` and return the process's exit status: what it returned, or 0.

    A :class:`~glmix_mm.errors.UserError` becomes the last line of stderr, ``error: ...``, and
    status 1; Ctrl-C becomes status 130, SIGTERM in training and in ``app`` 143. With ``--debug``
    the traceback comes first. Any other exception is a fault of the program and keeps its own.

    Args:
        main: takes the arguments of the command line.
        argv: those arguments; by default the process's own.
    """
    from .checkpoints.safe_reading import safe_in_mmengine
    from .utils.atomic_files import atomic_in_mmengine
    from .utils.config_texts import formatted_once
    from .utils.messages import one_line
    from .utils.quiet import harmless_hidden

    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        quiet = contextlib.nullcontext() if '--debug' in argv else harmless_hidden()
        with quiet, safe_in_mmengine(), atomic_in_mmengine(), formatted_once():
            status = main(argv) or 0
        return status
    except UserError as error:
        if '--debug' in argv:
            traceback.print_exc()
        sys.stdout.flush()
        if str(error):  # of several processes, one says it
            print(f'error: {one_line(error)}', file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt as stop:
        sys.stdout.flush()
        said = str(stop) if hasattr(stop, 'signum') else 'interrupted'
        if said:  # of several processes, one says it
            print(said, file=sys.stderr, flush=True)
        return 128 + getattr(stop, 'signum', signal.SIGINT)
