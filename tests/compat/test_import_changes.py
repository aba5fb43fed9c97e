"""An import adds to the libraries, and changes in them what one table says and nothing else."""

import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from glmix_mm.compat.import_changes import CHANGES, FORKS_NAME

ROOT = Path(__file__).parents[2]
# Prints what changed of the libraries' attributes, classes' attributes, dicts and registries.
WATCH = """
import importlib.util, json, sys, types, warnings
from importlib.machinery import ModuleSpec
warnings.simplefilter('ignore')

class Compiled(types.ModuleType):  # plays mmcv's extension
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return print

extension = sys.modules['mmcv._ext'] = Compiled('mmcv._ext')
extension.__spec__ = ModuleSpec('mmcv._ext', None, origin='compiled')
LIBRARIES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
PARTS = ('', '.runner', '.hooks', '.infer', '.fileio', '.ops', '.transforms', '.apis', '.datasets',
         '.models', '.evaluation', '.engine', '.visualization')

def import_libraries():
    for library in LIBRARIES:
        for part in PARTS:
            if importlib.util.find_spec(library) and importlib.util.find_spec(library + part):
                importlib.import_module(library + part)

def attributes():
    from mmengine.registry import Registry
    found = {}
    def add(owner, items):
        for key, value in items.items():
            if str(key).startswith('__'):
                continue
            if isinstance(value, dict):
                add(f'{owner}.{key}', value)
            elif isinstance(value, Registry):
                add(f'{owner}.{key}', value._module_dict)
            else:
                found[f'{owner}.{key}'] = value
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] in LIBRARIES and name != 'mmcv._ext':
            add(name, vars(module))
            for key, value in vars(module).items():
                if isinstance(value, type) and value.__module__ == name:
                    add(f'{name}.{key}', vars(value))
    return found

def origin(value):
    value = getattr(value, '__func__', value)
    code = getattr(value, '__code__', None)
    where = (code.co_filename, code.co_firstlineno) if code else ()
    return [type(value).__name__, getattr(value, '__qualname__', ''), *where]

order = sys.argv[1]
if order == 'glmix_mm first':
    import glmix_mm
import_libraries()
before = attributes()
if order == 'glmix_mm last':
    import glmix_mm
    after = attributes()
    print(json.dumps([n for n in before if n not in after or after[n] is not before[n]]))
else:
    print(json.dumps({name: origin(value) for name, value in before.items()}))
"""


def watch(order):
    env = os.environ | dict(GLMIX_STARTUP='0', PYTHONPATH=str(ROOT))
    command = [sys.executable, '-c', WATCH, order]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def expected():
    """Return the table's names, as far as they apply to what is installed."""
    try:
        distribution('mmsegmentation')
    except PackageNotFoundError:
        return set(CHANGES)
    return set(CHANGES) - {FORKS_NAME}


def assert_are_expected(changed):
    by_pattern = {
        name: [pattern for pattern in expected() if fnmatchcase(name, pattern)] for name in changed
    }
    assert [name for name, patterns in by_pattern.items() if not patterns] == []
    assert {pattern for patterns in by_pattern.values() for pattern in patterns} == expected()


def test_after_the_libraries_it_changes_what_the_table_says():
    assert_are_expected(watch('glmix_mm last'))


@pytest.mark.slow
def test_before_the_libraries_it_changes_the_same():
    plain, found = watch('without glmix_mm'), watch('glmix_mm first')
    assert len(plain) > 10_000
    assert_are_expected([name for name in plain if found.get(name) != plain[name]])


@pytest.mark.parametrize('name', CHANGES)
def test_the_page_shows_the_table(name):
    assert f'| `{name}` | {CHANGES[name]} |' in (ROOT / 'docs' / 'install.md').read_text()
