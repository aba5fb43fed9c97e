"""Runs the pages' commands in this process: importing everything anew would take a minute each."""

import os
import re
import shlex
import socket
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from runs import forget
from stand_ins import PLACEHOLDERS, RECORD
from torch import distributed

from glmix_mm.cli import main

VARIABLE = re.compile(r'([A-Z_]+)=(.*)')
TOOL = re.compile(r'tools/(train|test)\.py|glmix|glmix_mm')


class Outcome(NamedTuple):
    """What came of a command: its exit status, what it printed, and how it started processes."""

    status: int
    out: str
    err: str
    started: list[str]


class Shell:
    """Runs commands in the current folder, which is laid out as the pages take it to be."""

    def __init__(self, capture: pytest.CaptureFixture):
        self.capture = capture

    def run(self, command: str) -> Outcome:
        """Run a command as it stands on its page, but for the words in capitals."""
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
        self.capture.readouterr()
        launched = {'mpirun', 'torchrun', '--gpus'} & {*words} or any(
            w.endswith('.sh') for w in words
        )
        status, started = self._launch(words) if launched else (self._call(words), [])
        forget()
        return Outcome(status, *self.capture.readouterr(), started)

    def _call(self, words: list[str]) -> int:
        """Run a Python program; return its exit status."""
        program, *words = words
        if program.rpartition('/')[2].startswith('python'):
            program, *words = words
        if program == '-m':
            program, *words = words
            assert program == 'glmix_mm'
        if program in ('glmix', 'glmix_mm'):
            return main(words)
        return run_script(Path(program), words)

    def _launch(self, words: list[str]) -> tuple[int, list[str]]:
        """Let stand-ins note which processes a command starts; run the first, alone, over gloo."""
        variables = {}
        while found := VARIABLE.fullmatch(words[0]):
            variables[found[1]], words = found[2], words[1:]
        path = f'{Path("bin").absolute()}{os.pathsep}{os.environ["PATH"]}'
        environment = dict(os.environ, PATH=path, **variables)
        for name in ('PYTHON', 'PORT'):
            environment.pop(name, None)
        if words[0] == 'glmix':
            started = self._record(words)
        else:
            subprocess.run(words, env=environment, check=True, timeout=60)
            started = Path(RECORD).read_text().split('\0')[:-1]
        place = next(i for i, word in enumerate(started) if TOOL.fullmatch(word))
        arguments = started[place + 1 :]
        kind = arguments.index('--launcher') + 1
        arguments[kind] = 'pytorch'  # the variables below are torchrun's
        if '--gpus' in arguments:
            arguments[arguments.index('--gpus') + 1] = '1'
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        alone = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        with mock.patch.dict(os.environ, alone):
            program = started[place]
            try:
                return self._call([program, *arguments]), started
            finally:
                if distributed.is_initialized():
                    distributed.destroy_process_group()

    def _record(self, words: list[str]) -> list[str]:
        """Return what `glmix ... --gpus N` hands to torch's launcher, which does not run."""
        given = []
        with (
            mock.patch('torch.distributed.run.parse_args', given.extend),
            mock.patch('torch.distributed.run.run'),
        ):
            assert self._call(words) == 0
        return ['torchrun', *given]


def run_script(path: Path, arguments: list[str], changes: dict[str, str] | None = None) -> int:
    """Run a script as Python would, with parts of its text changed; return its exit status."""
    source = path.read_text()
    for old, new in (changes or {}).items():
        assert source.count(old) == 1, f'{path} does not hold {old!r} once'
        source = source.replace(old, new)
    module = types.ModuleType('__main__')
    module.__file__ = str(path.resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(path), *arguments])
        patch.setattr(sys, 'path', [str(path.resolve().parent), *sys.path])
        patch.setitem(sys.modules, '__main__', module)
        try:
            exec(compile(source, module.__file__, 'exec'), vars(module))
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            return int(isinstance(end.code, str) or end.code or 0)
    return 0
