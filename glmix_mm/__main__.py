"""``glmix COMMAND`` and ``python -m glmix_mm COMMAND``."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import glmix_mm

from .commands import COMMANDS, spelled, survive_any_terminal, usage

ENVIRONMENT = {
    # Threads that wait by spinning for long slow each other down (tenfold) when other programs use
    # the cores as well; those that don't spin at all are a third slower when none does.
    'demo': {'GOMP_SPINCOUNT': '2000'},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit status."""
    survive_any_terminal()
    argv = list(sys.argv[1:] if argv is None else argv)
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
    if not command.bare and not glmix_mm.is_set_up:
        glmix_mm.set_up()
    call = importlib.import_module(f'.{command.module}', 'glmix_mm').main
    if command.bare:
        return call(argv)
    from .engine.cli import run

    return run(call, argv)


if __name__ == '__main__':
    sys.exit(main())
