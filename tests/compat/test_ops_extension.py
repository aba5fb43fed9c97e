"""The module that stands in for mmcv._ext, and a compiled one's precedence over it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torchvision
from served_ops import ops, served_module

from glmix_mm.errors import UserError

ROOT = Path(__file__).parents[2]
EXTENSION = sys.modules['mmcv._ext']
needs_served = pytest.mark.skipif(
    getattr(EXTENSION, '__file__', None) is not None, reason='a compiled mmcv is installed'
)


def run_python(code, *paths):
    """Run code in a new process, with ``paths`` before the repository on its path."""
    environment = os.environ | {
        'PYTHONPATH': os.pathsep.join([*map(str, paths), str(ROOT)]),
        'OMP_NUM_THREADS': '1',
    }
    process = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


@needs_served
def test_unserved_op_says_so_when_called():
    pool = ops.PrRoIPool(2, 1)
    with pytest.raises(UserError) as caught:
        pool(torch.rand(1, 4, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]))
    message = str(caught.value)
    assert "'prroi_pool_forward' needs the compiled mmcv" in message
    assert 'docs/ops.md' in message
    assert 'mim install' in message
    assert '\n' not in message


@needs_served
def test_unserved_rotated_nms_from_a_config():
    boxes = torch.tensor([[5.0, 5, 4, 2, 0.1]])
    with pytest.raises(UserError, match='nms_rotated'):
        ops.batched_nms(
            boxes, torch.ones(1), torch.zeros(1), dict(type='nms_rotated', iou_threshold=0.5)
        )


def test_every_name_of_mmcv_is_there_and_no_private_one():
    served = served_module()
    assert callable(served.corner_pool)
    assert served.corner_pool.__name__ == 'corner_pool'
    for name in ('__path__', '__wrapped__', '_private'):
        assert not hasattr(served, name)


@needs_served
def test_served_functions_are_those_mmcv_loaded():
    assert isinstance(EXTENSION, ModuleType)
    assert EXTENSION.__spec__.origin == 'glmix_mm'
    assert sys.modules['mmcv.ops.nms'].ext_module is EXTENSION
    assert EXTENSION.nms.__module__ == 'glmix_mm.compat.ops.nms'


@needs_served
def test_environment_report():
    from mmcv.utils import collect_env
    from mmcv.utils.ext_loader import check_ops_exist
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    report = collect_env()
    assert 'served by glmix_mm' in report['MMCV Compiler']
    assert torchvision.__version__ in report['MMCV Compiler']
    assert report['MMCV CUDA Compiler'] == 'not available'
    assert check_ops_exist()
    assert mmcv_full_available()


@needs_served
def test_importing_the_package_imports_no_ops():
    """Nothing is loaded before mmcv.ops asks for it; then mmdet and mmseg can be imported."""
    loaded = run_python(
        'import sys, glmix_mm\n'
        "print('mmcv.ops' in sys.modules, 'mmcv._ext' in sys.modules)\n"
        'import mmcv.ops, mmdet.apis, mmdet.utils, mmseg.apis\n'
        "print('MMDetection' in mmdet.utils.collect_env())"
    )
    assert loaded == ['False', 'False', 'True']


def test_a_compiled_mmcv_is_used_and_gets_what_it_can_read(tmp_path):
    """A copy of mmcv with a compiled extension, played by a Python file that marks its nms."""
    source = Path(ops.__file__).parents[1]
    shutil.copytree(source, tmp_path / 'mmcv', ignore=shutil.ignore_patterns('csrc', '_ext*'))
    (tmp_path / 'mmcv' / '_ext.py').write_text(
        'def nms(boxes, scores, iou_threshold, offset):\n'
        '    return scores.new_tensor([1], dtype=int)\n'
        'def roi_align_forward(input, rois, output, *_, **__):\n'
        '    output.fill_(input.is_contiguous() and input.element_size() == 4)\n'
        'def roi_align_backward(grad_output, rois, y, x, grad_input, **_):\n'
        '    grad_input.fill_(grad_output.element_size() == 4)\n'
        'def __getattr__(name):\n'
        "    if name.startswith('_'):\n"
        '        raise AttributeError(name)\n'
        "    return lambda *args, **kwargs: 'compiled'\n"
    )
    code = (
        'import sys, torch, glmix_mm, mmcv.ops\n'
        "extension = sys.modules['mmcv._ext']\n"
        'kept = mmcv.ops.nms(torch.zeros(3, 4), torch.zeros(3), 0.5)[1].tolist()\n'
        'image, boxes = torch.zeros(1, 3, 8, 8), torch.zeros(2, 5)\n'
        'strided = image.to(memory_format=torch.channels_last)\n'
        'for given in (strided, image.bfloat16(), image.half()):\n'
        '    pooled = mmcv.ops.roi_align(given.requires_grad_(), boxes, 7)\n'
        '    pooled.sum().backward()\n'
        '    print(pooled.min().item(), pooled.dtype == given.dtype)\n'
        '    print(given.grad.min().item(), given.grad.dtype == given.dtype)\n'
        "print(hasattr(torch.autograd.Function.forward, 'knows_glmix_mm'))\n"
        'print(extension.__file__, kept[0], mmcv.ops.get_compiler_version(),\n'
        "      'glmix_mm.compat.ops' in sys.modules)"
    )
    *readable, torchs, file, kept, version, served = run_python(code, tmp_path)
    assert readable == ['1.0', 'True'] * 2 * 3
    assert torchs == 'False'  # what is not mmcv's stays as it is
    assert Path(file) == tmp_path / 'mmcv' / '_ext.py'
    assert (kept, version, served) == ('1', 'compiled', 'False')
