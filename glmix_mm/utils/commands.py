"""The commands of ``glmix``, and how this process was started; standard library only.

``import glmix_mm`` asks here first: a command line sets the package up only once it knows its
command, so that ``glmix --help`` and ``glmix doctor`` do without torch.
"""

import codecs
import locale
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1]
MAIN = 'glmix_mm'
SCRIPT = sys.argv[0]  # '-m' while Python looks for the module of `python -m MODULE`
MODULE = ''.join(sys.orig_argv[-len(sys.argv) :][:1]).removeprefix('-m') if SCRIPT == '-m' else ''
if MODULE.partition('.')[0] != MAIN:
    MODULE = ''
RUNNER = 'glmix_mm.deploy.runner'  # a program of its own, written beside each exported model


def survive_any_terminal() -> None:
    """Print what a terminal's encoding lacks as escapes, where Python would stop in an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def restart_in_utf8() -> None:
    """Restart the command in Python's UTF-8 mode if the locale has another encoding.

    Annotations, lists and captions are UTF-8, but mmdet, mmseg and mmpretrain open many of them in
    the locale's encoding and would misread names in silence. What is printed keeps the terminal's
    encoding. A process of the user's own is left as it is.
    """
    encoding = codecs.lookup(locale.getpreferredencoding(False)).name
    tried = os.environ.get('PYTHONUTF8') == '1'
    if encoding == 'utf-8' or tried or not is_command_line():
        return
    os.environ.setdefault('PYTHONIOENCODING', f'{sys.stdout.encoding}:backslashreplace')
    os.environ['PYTHONUTF8'] = '1'  # for the workers, too
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class Command(NamedTuple):
    """A command.

    Attributes:
        module: whose ``main(argv)`` is called.
        summary: what it does, in a line.
        tool: the file of the checkout's tools/ that calls it, without its ending.
        bare: whether it does without the package's set-up, and so without torch.
    """

    module: str
    summary: str
    tool: str = ''
    bare: bool = False


JOBS = {
    'Train and score': {
        'train': Command(
            'training.train', 'train a detector, a segmentor or a classifier', 'train'
        ),
        'test': Command('inference.test', 'score a checkpoint', 'test'),
        'predict': Command('inference.predict', 'draw and write predictions', 'predict'),
        'app': Command('app.command', 'look at predictions and slots in the browser'),
        'plot-log': Command('profiling.plot_log', 'draw the curves of runs', 'plot_log'),
    },
    'Prepare': {
        'doctor': Command('doctor.command', 'check the installation and the machine', bare=True),
        'check-data': Command('data.check_data', 'check a dataset'),
        'convert': Command('data.convert', "turn Pascal VOC, YOLO or labelme into COCO's json"),
        'config': Command('inference.show_config', 'print the config of a run, or what changes'),
        'list': Command('config.list_configs', 'list the configs', bare=True),
        'demo': Command('demo', 'train and test on an embedded data set', 'demo'),
    },
    'Pass on': {
        'publish': Command('deploy.publish', 'strip a checkpoint to its backbone', 'publish'),
        'export': Command('deploy.export', 'write a model as ONNX', 'export'),
    },
    'Measure': {
        'flops': Command('profiling.get_flops', 'count multiply-adds and parameters', 'get_flops'),
        'benchmark': Command('profiling.benchmark', 'compare speed and memory', 'benchmark'),
        'ablate': Command('profiling.ablate', "compare the ablations of GLNet's paper", 'ablate'),
    },
    'Look inside GLNet': {
        'slots': Command('slots.draw_slots', 'draw what its slots contain', 'visualize_slots'),
        'slot-grids': Command(
            'slots.compare_grids', 'compare other numbers of slots', 'compare_slot_grids'
        ),
    },
}
COMMANDS = {name: command for job in JOBS.values() for name, command in job.items()}


def usage() -> str:
    """Return the commands, grouped by job."""
    lines = ['usage: glmix COMMAND ...  (glmix COMMAND --help lists its options)']
    for job, commands in JOBS.items():
        lines += ['', f'{job}:']
        lines += [f'  {name:<12}{command.summary}' for name, command in commands.items()]
    return '\n'.join(lines)


def is_command_line() -> bool:
    """Tell whether this process is ``glmix``, ``python -m glmix_mm`` or a tool of tools/."""
    return MODULE == MAIN or Path(SCRIPT).name in ('glmix', 'glmix.exe') or _is_tool()


def refuse_other_modules() -> None:
    """End ``python -m glmix_mm.training.train``, which would do nothing, and say what does it."""
    if not MODULE.startswith('glmix_mm.') or MODULE in (f'{MAIN}.__main__', RUNNER):
        return
    names = [n for n, c in COMMANDS.items() if f'{MAIN}.{c.module}.'.startswith(f'{MODULE}.')]
    instead = ' or '.join(map(spelled, names)) if names else f'{spelled("COMMAND")}, see --help'
    print(f'{MODULE} is a module, not a program; use: {instead}', file=sys.stderr)
    sys.exit(2)


def spelled(name: str) -> str:
    """Return how the user calls a command: in the way in which this process was started.

    In a program of the user's own, that is by ``glmix``.
    """
    if MODULE:
        return shlex.join([sys.executable, '-m', MAIN, name])
    if _is_tool():
        tool = COMMANDS[name].tool
        words = [str(Path(SCRIPT).with_name(f'{tool}.py'))] if tool else ['-m', MAIN, name]
        return shlex.join([sys.executable, *words])
    on_path = shutil.which('glmix')
    if not _is_script() or (on_path and Path(on_path).samefile(SCRIPT)):
        return f'glmix {name}'
    return shlex.join([SCRIPT, name])


def python_arguments(name: str) -> list[str]:
    """Return the arguments with which Python runs a command as this process was started."""
    if _is_tool():
        return [SCRIPT]
    return [SCRIPT, name] if _is_script() else ['-m', MAIN, name]


def _is_script() -> bool:
    return Path(SCRIPT).name == 'glmix' and Path(SCRIPT).is_file()  # Windows has a glmix.exe


def _is_tool() -> bool:
    tools = (PACKAGE.parent / 'tools', PACKAGE / '.mim' / 'tools')
    return SCRIPT.endswith('.py') and Path(SCRIPT).resolve().parent in tools
