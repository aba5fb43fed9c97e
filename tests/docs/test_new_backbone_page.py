"""The page's backbone, as it stands there: counted, trained, predicted with, differentiated."""

import shlex
import sys

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from pages import FENCE, ROOT

from glmix_mm.cli import main
from glmix_mm.data.demo_set import write_demo_dataset

pytestmark = pytest.mark.slow

PAGE = ROOT / 'docs' / 'new_backbone.md'
FILES = ('poolnet.py', 'maskrcnn_poolnet.py')  # the page's Python, in this order


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with the page's files and a demo set, from which Python imports."""
    folder = tmp_path_factory.mktemp('page')
    write_demo_dataset(folder / 'demo_out' / 'data', num_train=4, num_val=2, image_size=64)
    codes = [text for language, text in FENCE.findall(PAGE.read_text()) if language == 'python']
    for name, code in zip(FILES, codes, strict=True):
        (folder / name).write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder
    sys.modules.pop('poolnet', None)


def test_the_commands_run(folder, capsys):
    (commands,) = [text for language, text in FENCE.findall(PAGE.read_text()) if language == 'bash']
    printed = {}
    for command in commands.splitlines():
        place, program, *arguments = shlex.split(command)
        assert (place, program) == ('PYTHONPATH=.', 'glmix')
        assert main(arguments) == 0, command
        MMLogger._instance_dict.clear()
        printed[arguments[0]] = capsys.readouterr().out
    assert 'backbone (PoolNet)' in printed['flops']
    assert (folder / 'work_dirs' / 'maskrcnn_poolnet' / 'iter_4.pth').is_file()
    assert list(printed) == ['flops', 'train', 'predict']


def test_the_backbone_has_what_all_have(folder):
    import poolnet  # noqa: F401

    settings = dict(type='PoolNet', channels=[8, 8, 8, 8], depths=[1, 1, 1, 1], with_cp=True)
    backbone = MODELS.build(settings).double()
    x = torch.randn(2, 3, 64, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: backbone(x)[-1], x, fast_mode=True)
    backbone.eval()
    with torch.no_grad():
        expected = backbone(x)
        for own, other in zip(backbone.fuse()(x), expected, strict=True):
            torch.testing.assert_close(own, other)
