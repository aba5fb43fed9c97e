"""``glmix``: its commands, what it loads, and how messages spell it."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glmix_mm.cli import COMMANDS, main
from glmix_mm.utils import commands

ROOT = Path(__file__).parents[1]
SCRIPT = f'#!{sys.executable}\nimport sys\nfrom glmix_mm.cli import main\nsys.exit(main())\n'


@pytest.fixture(autouse=True)
def same_arguments(monkeypatch):
    """main() writes the command's name into sys.argv."""
    monkeypatch.setattr(sys, 'argv', list(sys.argv))


@pytest.fixture
def glmix(tmp_path):
    """Return the path of the console script, as pip writes it."""
    path = tmp_path / 'bin' / 'glmix'
    path.parent.mkdir()
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return path


def call(*command, **variables):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), **variables)
    words = list(map(str, command))
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100)


def test_a_reader_that_stops_early_gets_no_traceback(glmix):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'wb') as closed:
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        done = subprocess.run(
            [glmix, '--help'], env=environment, stdout=closed, stderr=subprocess.PIPE
        )
    assert done.returncode == 141 and not done.stderr


def test_the_console_script_is_there():
    target = re.search(r'glmix = ([\w.]+):(\w+)', (ROOT / 'setup.py').read_text())
    assert getattr(importlib.import_module(target[1]), target[2]) is main


TORCHLESS = [['--help'], ['--version'], ['list', 'glnet'], ['docter']]
TORCHLESS += [[name, '--help'] for name, command in COMMANDS.items() if not command.bare]


@pytest.mark.parametrize('arguments', TORCHLESS, ids=' '.join)
def test_what_needs_no_torch_loads_none(arguments, glmix):
    done = call(glmix, *arguments, PYTHONPROFILEIMPORTTIME='1')
    assert done.returncode == (2 if arguments == ['docter'] else 0)
    loaded = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'glmix_mm.utils.commands' in loaded
    assert not {'torch', 'numpy', 'mmengine'} & loaded
    if arguments == ['--help']:
        assert re.findall(r'^  ([\w-]+) ', done.stdout, re.MULTILINE) == list(COMMANDS)


def test_every_tool_is_a_command():
    tools = {path.stem: path.read_text() for path in (ROOT / 'tools').glob('*.py')}
    called = {tool: re.search(r"main\(\['([\w-]+)'", text)[1] for tool, text in tools.items()}
    assert called == {command.tool: name for name, command in COMMANDS.items() if command.tool}


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, '--help'])
    assert ended.value.code == 0
    assert f'glmix {name}' in capsys.readouterr().out


def test_an_unknown_command_is_named_with_the_nearest(capsys):
    assert main(['docter']) == 2
    err = capsys.readouterr().err
    assert err.endswith("error: no command 'docter'; did you mean doctor?\n")
    assert all(name in err for name in COMMANDS)


def test_a_command_is_spelled_as_this_process_was_started(glmix, tmp_path, monkeypatch):
    def spelled(name, script, module=''):
        monkeypatch.setattr(commands, 'SCRIPT', str(script))
        monkeypatch.setattr(commands, 'MODULE', module)
        return commands.spelled(name), commands.python_arguments(name)

    python, tool = sys.executable, ROOT / 'tools' / 'test.py'
    by_module = ['-m', 'glmix_mm', 'flops']
    assert spelled('flops', tmp_path / 'mine.py') == ('glmix flops', by_module)
    assert spelled('flops', '-m', 'glmix_mm') == (f'{python} -m glmix_mm flops', by_module)
    assert spelled('flops', tool) == (f'{python} {ROOT}/tools/get_flops.py', [str(tool)])
    assert spelled('doctor', tool)[0] == f'{python} -m glmix_mm doctor'
    monkeypatch.setenv('PATH', str(tmp_path))
    assert spelled('flops', glmix) == (f'{glmix} flops', [str(glmix), 'flops'])
    monkeypatch.setenv('PATH', str(glmix.parent))
    assert spelled('flops', glmix)[0] == 'glmix flops'


@pytest.mark.parametrize(
    ('module', 'instead'),
    [
        ('training.train', 'train'),
        ('profiling.get_flops', 'flops'),
        ('doctor', 'doctor'),
        ('models.glnet', 'COMMAND, see --help'),
    ],
)
def test_a_module_that_is_no_program_says_so(module, instead):
    done = call(sys.executable, '-m', f'glmix_mm.{module}', 'x')
    assert done.returncode == 2
    words = f'glmix_mm.{module} is a module, not a program; use: {sys.executable} -m glmix_mm'
    assert done.stderr == f'{words} {instead}\n'


def test_the_configs_are_listed(capsys):
    assert main(['list', 'glnet_4g_']) == 0
    rows = [re.split('  +', line) for line in capsys.readouterr().out.splitlines()]
    assert ['maskrcnn_glnet_4g_3x', 'COCO', '16', '36 epochs', '46.6 M'] in rows
    assert ['semfpn_glnet_4g_80k', 'ADE20K', '32', '80000 iterations', '30.7 M'] in rows
    assert main(['list', 'resnet']) == 1
