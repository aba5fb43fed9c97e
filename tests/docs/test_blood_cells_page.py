"""The page on blood cells: its commands, one by one, on the real set; training is cut short."""

import json
import os
import shlex
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from pages import ROOT, fenced

from glmix_mm.cli import main
from glmix_mm.config.load_config import load_config

REAL = os.environ.get('GLMIX_REAL_DATA')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(not REAL, reason='GLMIX_REAL_DATA names no folder'),
]
CONFIG = 'fasterrcnn_glnet_nano_bccd'
STEPS = 4
SHORT = [f'train_cfg.max_iters={STEPS}', f'train_cfg.val_interval={STEPS}', 'param_scheduler=[]']
SHORT += [f'default_hooks.checkpoint.interval={STEPS}', 'default_hooks.logger.interval=1']
SHORT += ['val_dataloader.dataset.indices=8']


@pytest.fixture(scope='module')
def followed(tmp_path_factory):
    """Return the folder in which the whole page was followed, as the current one."""
    folder = tmp_path_factory.mktemp('page')
    (folder / 'BCCD_Dataset').mkdir()
    (folder / 'BCCD_Dataset/BCCD').symlink_to(Path(REAL, 'bccd').resolve())
    last = load_config(CONFIG).train_cfg.max_iters
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pretty = 'mmengine.config.config.FormatCode'  # which onedl-mmengine has not
        patch.setattr(pretty, lambda text, **_: (text, True), raising=False)
        for command in fenced(ROOT / 'docs' / 'blood_cells.md'):
            program, *words = shlex.split(command.replace(f'iter_{last}', f'iter_{STEPS}'))
            words += ['--cfg-options', *SHORT] if words[0] == 'train' else []
            assert program == 'glmix' and main(words) == 0, command
            MMLogger._instance_dict.clear()
        yield folder


def test_the_set_is_converted(followed):
    for split, images in (('train', 205), ('val', 87)):
        content = json.loads((followed / f'data/bccd/annotations/{split}.json').read_text())
        assert len(content['images']) == images
        names = {category['name'] for category in content['categories']}
        assert names == {'RBC', 'WBC', 'Platelets'}


def test_pictures_predictions_and_panels_are_there(followed):
    pictures = list((followed / 'pictures').glob('*.jpg'))
    assert len(pictures) == 87
    assert json.loads((followed / 'predictions/predictions.json').read_text())['images']
    assert list((followed / 'slots').glob('*_block*.png'))
    assert (followed / 'curves.png').is_file()
