"""The pages build without a warning, and their commands are what the tools take."""

import argparse
import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from glmix_mm.__main__ import COMMANDS as COMMANDS_OF_GLMIX

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md')]
PAGES += sorted((ROOT / 'docs').glob('*.md'))
FENCE = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r'(?:\.venv/bin/)?python3? (tools/\w+\.py|tests/\S+\.py|-m glmix_mm)\b|glmix ')


def blocks(page, language):
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def commands():
    for page in PAGES:
        for block in (*blocks(page, ''), *blocks(page, 'bash')):
            for line in block.replace('\\\n', ' ').splitlines():
                yield pytest.param(line.removeprefix('$ '), id=f'{page.name}: {line.strip()[:70]}')


COMMANDS = [param for param in commands() if PROGRAM.match(param.values[0])]
SCRIPTS = [param for param in commands() if re.match(r'(tools|tests)/\w+\.sh', param.values[0])]
MADE = [param for param in commands() if re.match('make [a-z]', param.values[0])]


class Parsed(Exception):
    """The command line was read."""


@pytest.fixture
def only_parse(monkeypatch):
    """Let the tools' main functions end where they have read their command line."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, argv=None, namespace=None):
        parse(parser, argv, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)


@pytest.mark.parametrize('line', COMMANDS)
def test_tools_take_the_commands(line, only_parse):
    words = shlex.split(line.replace('python -m glmix_mm', 'glmix'), comments=True)
    if words[0] == 'glmix':
        module, arguments = f'glmix_mm.{COMMANDS_OF_GLMIX[words[1]]}', words[2:]
    else:
        module, arguments = tool_module(ROOT / words[1]), words[2:]
    if module:
        with pytest.raises(Parsed):
            importlib.import_module(module).main(arguments)
    check_configs(arguments)


@pytest.mark.parametrize('line', SCRIPTS)
def test_scripts_are_there(line):
    script, *arguments = shlex.split(line, comments=True)
    assert os.access(ROOT / script, os.X_OK)
    check_configs(arguments)


@pytest.mark.parametrize('line', MADE)
def test_targets_are_there(line):
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.MULTILINE)


def test_there_are_commands():
    assert len(COMMANDS) > 10 and SCRIPTS and MADE


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_python_is_python_and_links_lead_somewhere(page):
    for block in blocks(page, 'python'):
        ast.parse(block)
    for link in re.findall(r'\]\(([^)#]+)', page.read_text()):
        assert link.startswith('https://') or (page.parent / link).exists(), link


def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip('sphinx', reason='the pages are built with Python 3.11 or newer')
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', '-W', '-q', ROOT / 'docs', tmp_path / 'html'],
        env=dict(os.environ, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '<h1>Install' in (tmp_path / 'html' / 'install.html').read_text()


def tool_module(script):
    """Return the module whose command line a tool is; none for a script of its own."""
    found = re.search(r'from (glmix_mm\.[\w.]+) import main', script.read_text())
    return found and found[1]


def check_configs(arguments):
    for word in arguments:
        if word.startswith('configs/'):
            assert (ROOT / word).is_file(), word
