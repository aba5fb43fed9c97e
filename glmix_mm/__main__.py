"""``glmix COMMAND`` and ``python -m glmix_mm COMMAND``."""

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {  # the module whose main(argv) is called
    'doctor': 'doctor.command',
    'check-data': 'engine.check_data',
    'train': 'engine.train',
    'test': 'engine.test',
    'predict': 'engine.predict',
    'export': 'deploy.export',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv.pop(0) if argv else ''
    if name not in COMMANDS:
        asked = name in ('-h', '--help')
        usage = f'usage: glmix {{{",".join(COMMANDS)}}} ...; each has --help'
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    sys.argv[0] = f'glmix {name}'  # what --help and mistakes in the arguments show
    command = importlib.import_module(f'.{COMMANDS[name]}', __package__ or 'glmix_mm').main
    if name == 'doctor':  # imports nothing that could be broken
        return command(argv)
    from .engine.cli import run

    return run(command, argv)


if __name__ == '__main__':
    sys.exit(main())
