"""docs/ops.md lists every op of mmcv 2.1, and says of each what the code does."""

import ast
import functools
import re
from pathlib import Path

import mmcv
import pytest
from served_ops import ops

from glmix_mm.compat.ops import FUNCTIONS

OPS = Path(ops.__file__).parent
PAGE = (Path(__file__).parents[2] / 'docs' / 'ops.md').read_text()
SERVED = {function.__name__ for function in FUNCTIONS}
REPORTS = {'get_compiler_version', 'get_compiling_cuda_version'}


def listed(heading):
    """Return the ops that a section of the page names: in tables those of the first column."""
    section = re.search(rf'## {heading}\n(.*?)(\n## |\Z)', PAGE, re.DOTALL)[1]
    rows = re.findall(r'^\|(.*?)\|', section, re.MULTILINE)
    names = re.findall(r'`(\w+)`', ' '.join(rows) if rows else section)
    return sorted(set(names) & set(ops.__all__))


@functools.cache
def definitions(file):
    """Return what a file of mmcv.ops defines or imports from its neighbours, by name."""
    found = {}
    for node in ast.parse((OPS / f'{file}.py').read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found.update({t.id: node for t in node.targets if isinstance(t, ast.Name)})
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            found.update({alias.asname or alias.name: node for alias in node.names})
    return found


def compiled_calls(file, name, seen=None):
    """Return the compiled functions that something of mmcv.ops calls, itself or by others."""
    node, seen = definitions(file).get(name), set() if seen is None else seen
    if node is None or (file, name) in seen:
        return set()
    seen.add((file, name))
    if isinstance(node, ast.ImportFrom):
        return compiled_calls(node.module, name, seen)
    calls = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and getattr(part.value, 'id', '') == 'ext_module':
            calls.add(part.attr)
        elif isinstance(part, ast.Name):
            calls |= compiled_calls(file, part.id, seen)
    return calls


def test_every_op_is_in_one_section():
    sections = [listed(name) for name in ('Served', 'Plain Python in mmcv', 'Not served')]
    names = [name for section in sections for name in section]
    assert len(names) == len(set(names)) > 120
    if mmcv.__version__.startswith('2.1.'):  # other versions may have more
        assert sorted(names) == sorted(ops.__all__)


@pytest.mark.parametrize('name', listed('Served'))
def test_served_ops_call_what_is_served(name):
    assert compiled_calls('__init__', name) <= SERVED


def test_every_served_function_is_called():
    called = set().union(*(compiled_calls('__init__', name) for name in listed('Served')))
    assert SERVED - called == REPORTS


@pytest.mark.parametrize(
    'name', ['PrRoIPool', 'nms_rotated', 'RoIAlignRotated', 'knn', 'tin_shift']
)
def test_ops_that_are_not_served(name):
    assert name in listed('Not served')
    assert compiled_calls('__init__', name).isdisjoint(SERVED)
