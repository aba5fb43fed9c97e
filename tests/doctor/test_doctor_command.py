"""``python -m glmix_mm doctor`` as a process, where packages are whole, broken or deadly."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glmix_mm.data.demo_set import write_demo_dataset

ROOT = Path(__file__).parents[2]


def doctor(cwd, *arguments, stubs=None):
    paths = [stubs, ROOT, os.environ.get('PYTHONPATH')]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(str(p) for p in paths if p))
    command = [sys.executable, '-m', 'glmix_mm', 'doctor', '--json', *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert 'Traceback' not in done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == report['would_fail']
    return {check['name']: check for check in report['checks']}


def stub(folder, name, code):
    (folder / name).mkdir(parents=True)
    (folder / name / '__init__.py').write_text(code)
    return folder


def test_where_everything_is_whole(tmp_path):
    root = write_demo_dataset(tmp_path / 'set', num_train=2, num_val=2, image_size=32)
    checks = doctor(tmp_path, 'maskrcnn_glnet_nano', '--data-root', root / 'coco')
    assert {check['verdict'] for check in checks.values()} <= {'ok', 'warning'}
    assert checks['torch']['found'].startswith('2.')
    assert checks['data']['found'].startswith(str(root / 'coco'))


def test_where_torch_cannot_be_loaded(tmp_path):
    broken = stub(tmp_path / 'stubs', 'torch', 'raise OSError("libcudart.so.13: cannot open")')
    checks = doctor(tmp_path, stubs=broken)
    assert checks['torch']['verdict'] == 'error'
    assert 'OSError: libcudart.so.13: cannot open' in checks['torch']['found']
    assert checks['imports']['verdict'] == 'error'
    assert checks['GPU']['verdict'] == checks['data']['verdict'] == 'not checked'
    assert checks['mm packages']['verdict'] == 'ok'


def test_where_an_import_ends_python(tmp_path):
    deadly = stub(tmp_path / 'stubs', 'mmcv', 'import os\nos._exit(11)')
    checks = doctor(tmp_path, stubs=deadly)
    assert checks['imports']['verdict'] == 'error'
    assert 'Python ended with status 11' in checks['imports']['found']
    assert checks['torch']['verdict'] == 'ok'


@pytest.mark.slow
def test_where_the_compiled_ops_cannot_be_loaded(tmp_path):
    """An mmcv compiled for another torch."""
    real = Path(importlib.util.find_spec('mmcv').origin)
    code = f'__path__.append({str(real.parent)!r})\n'
    code += f'exec(compile(open({str(real)!r}).read(), {str(real)!r}, "exec"))'
    stubs = stub(tmp_path / 'stubs', 'mmcv', code)
    symbol = 'raise ImportError("mmcv/_ext.so: undefined symbol: _ZNK3c105Error4whatEv")'
    (stubs / 'mmcv' / '_ext.py').write_text(symbol)
    checks = doctor(tmp_path, stubs=stubs)
    assert checks['imports']['verdict'] == 'error'
    assert 'undefined symbol: _ZNK3c105Error4whatEv' in checks['imports']['found']
    assert re.match(r'pip (uninstall --yes mmcv|install .* onedl-mmcv)', checks['imports']['fix'])
