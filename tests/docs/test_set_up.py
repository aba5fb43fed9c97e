"""The commands that fetch, install and make: as far as that goes without a network, and here."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from pages import ROOT, SET_UP, commands, each
from PIL import Image
from stand_ins import PLACEHOLDERS

from glmix_mm.demo import TASKS
from glmix_mm.doctor.checks import CPU_TORCH

pytestmark = pytest.mark.slow

COMMANDS = [command for command in commands() if SET_UP.match(command)]
MADE = [command for command in COMMANDS if re.search(r'\bmake ', command) and 'git' not in command]
INSTALLED = [command for command in COMMANDS if command.startswith('pip ')]
CLONED = [command for command in COMMANDS if command.startswith('git ')]
REPOSITORY, ADDRESS = '<this repository>', f'file://localhost{ROOT}'
OFFLINE = ('--dry-run', '--no-index', '--no-deps', '--no-build-isolation')
# So that git reads a checkout that someone else owns, as on a server for continuous integration.
TRUST = dict(GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*')
IS_CHECKOUT = (ROOT / '.git').exists() and shutil.which('git') is not None


def sh(command, *arguments, cwd=ROOT):
    done = subprocess.run(
        [command, *map(str, arguments)],
        cwd=cwd,
        env=dict(os.environ, **TRUST),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_command_is_one_of_these():
    assert sorted(COMMANDS) == sorted([*MADE, *INSTALLED, *CLONED])
    assert MADE and INSTALLED and CLONED


@pytest.mark.skipif(not IS_CHECKOUT, reason='not a git checkout')
@each(CLONED)
def test_clone(command, tmp_path):
    command = command.replace(REPOSITORY, f'--quiet {ADDRESS} glmix_mm')
    assert sh('bash', '-c', f'{command} && make -n demo', cwd=tmp_path)


@each(INSTALLED)
def test_pip(command, tmp_path):
    """Read the requirements, and of the repository what it holds; nothing changes here."""
    *before, last = command.split(' && ')
    assert all(re.fullmatch(r'pip uninstall --yes( [\w-]+)+', other) for other in before)
    pip, install, *words = shlex.split(last)
    assert (pip, install) == ('pip', 'install')
    if '--index-url' in words:  # which is not reached from here
        place = words.index('--index-url')
        assert words[place + 1] == CPU_TORCH.split()[1]
        del words[place : place + 2]
    options = {word for word in words if word.startswith('--')}
    assert options <= {'--upgrade', '--force-reinstall', '--no-deps'}  # which would fetch anew
    for requirement in words:
        if requirement not in options:
            check_requirement(requirement, tmp_path)


def check_requirement(requirement, folder):
    name = re.match(r'(\./)?([\w-]+)', requirement)[2]
    requirement = requirement.replace(f'./{name}', str(ROOT))
    if REPOSITORY in requirement:
        if not IS_CHECKOUT:
            pytest.skip('not a git checkout')
        requirement = requirement.replace(REPOSITORY, ADDRESS)
    elif not is_installed(name):
        pytest.skip(f'{name} is not installed here')
    printed = sh(sys.executable, '-m', 'pip', 'install', *OFFLINE, requirement, cwd=folder)
    assert 'does not provide the extra' not in printed
    name = re.sub('[-_]', '[-_]', name)  # older versions of pip change one into the other
    assert re.search(rf'Would install {name}|Requirement already satisfied: {name}', printed)


def is_installed(name):
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


@each(MADE)
def test_make(command, shell, capsys):
    command = re.sub('|'.join(PLACEHOLDERS), lambda word: PLACEHOLDERS[word[0]], command)
    recipe = sh('bash', '-c', f'cd {ROOT} && {command} -n').splitlines()
    known = re.compile(r'bin/python (tools|tests/zoo|-m (pytest|ruff))')
    run = [line for line in recipe if known.search(line)]
    assert run
    for line in run:
        words = shlex.split(line)
        module = words[words.index('-m') + 1] if '-m' in words else None
        assert module is None or importlib.util.find_spec(module)
        script = next(word for word in words if word.endswith('.py')) if module is None else ''
        if script.startswith('tests/zoo/'):  # an hour of work
            assert (ROOT / script).is_file()
        elif module is None:
            check_demo(shell, ' '.join(words))


def check_demo(shell, command):
    """Run the demo: two steps, after which it says what it misses."""
    task = command.split()[-1]
    outcome = shell.run(command)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith('error: the demo missed its target: ')
    assert f'{TASKS[task].title}, on 2 held-out images' in outcome.out
    for name in ('predictions', 'slots'):
        assert Image.open(Path('demo_out') / task / f'{name}.png').width > 300
