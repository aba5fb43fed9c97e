"""The tutorial's notebook runs from top to bottom, with a shorter training."""

import os
import re
import sys
from pathlib import Path

import pytest
from pages import ROOT

REASON = 'the pages are built with Python 3.11 or newer'
nbclient = pytest.importorskip('nbclient', reason=REASON)
nbformat = pytest.importorskip('nbformat', reason=REASON)
PAGE = ROOT / 'docs' / 'tutorial.ipynb'


def check_outputs(notebook):
    """Check that the notebook shows two lines of scores and two pictures."""
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    outputs = [out for cell in cells for out in cell.outputs]
    printed = ''.join(out.text for out in outputs if 'text' in out)
    assert len(re.findall(r'coco/segm_mAP: [\d.]+', printed)) == 2
    pictures = [
        out for out in outputs if {'image/png', 'image/jpeg'}.intersection(out.get('data', ()))
    ]
    assert len(pictures) == 2


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch):
    programs = Path(sys.executable).parent  # where `glmix` is
    monkeypatch.setenv('PATH', f'{programs}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    notebook = nbformat.read(PAGE, 4)
    (length,) = [cell for cell in notebook.cells if cell.source.startswith('STEPS = ')]
    length.source = 'STEPS = 4'
    where = dict(metadata=dict(path=str(tmp_path)))
    nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3', resources=where).execute()
    assert (tmp_path / 'work_dirs' / 'maskrcnn_glnet_nano' / 'iter_4.pth').is_file()
    assert (tmp_path / 'work_dirs' / 'finetune' / 'iter_2.pth').is_file()
    check_outputs(notebook)


def test_the_page_has_its_outputs():
    check_outputs(nbformat.read(PAGE, 4))
