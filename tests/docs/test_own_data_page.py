"""The tutorial's commands, one by one, as they stand on the page."""

import json
import re
import shlex

import pytest
from mmengine.logging import MMLogger
from pages import FENCE, ROOT, fences
from pycocotools.coco import COCO

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import main
from glmix_mm.config.load_config import load_config
from glmix_mm.models.build import build_model

pytestmark = pytest.mark.slow

PAGE = ROOT / 'docs' / 'own_data.md'
NAMES = ['coin', 'tile', 'sign', 'medal', 'washer']


def call(command):
    """Run a line of the page in this process; importing everything anew would take minutes."""
    program, *arguments = shlex.split(command)
    assert program == 'glmix'
    return main(arguments)


@pytest.fixture(scope='module')
def followed(tmp_path_factory):
    """Return the folder in which the whole page was followed, and what each command printed."""
    folder = tmp_path_factory.mktemp('page')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    blocks = FENCE.findall(PAGE.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pretty = 'mmengine.config.config.FormatCode'  # which onedl-mmengine has not
        patch.setattr(pretty, lambda text, **_: (text, True), raising=False)
        commands = []
        for language, text in blocks:
            if language == 'python' and '_base_' not in text:
                exec(compile(text, 'own_data.md', 'exec'), {})
            if language != 'bash':
                continue
            for command in text.splitlines():
                assert call(command) == 0, command
                MMLogger._instance_dict.clear()
                commands.append(command)
    return folder, commands


def test_every_kind_of_command_was_run(followed):
    _, commands = followed
    words = [command.split()[1] for command in commands]
    jobs = ['check-data', 'train', 'test', 'predict']
    assert words == [*jobs, *jobs, 'train', 'train']


def test_the_checkpoints_know_the_classes(followed):
    folder, _ = followed
    for name, classes in (('boxes', NAMES), ('maps', ['floor', *NAMES])):
        meta = read_checkpoint(folder / 'runs' / name / 'iter_10.pth')['meta']
        assert list(meta['dataset_meta']['classes']) == classes


def test_the_tests_scored_the_right_classes(followed):
    folder, _ = followed
    scores = max((folder / 'runs/boxes').glob('*/2*.json')).read_text()
    assert 'coco/segm_mAP' in scores
    log = max((folder / 'runs/maps').glob('*/2*.log')).read_text()
    assert all(re.search(rf'\| +{name} +\|', log) for name in ['floor', *NAMES])


def test_the_config_of_ones_own(tmp_path):
    (text,) = (code for code in fences(PAGE, 'python') if 'data/pets/' in code)
    path = tmp_path / 'pets.py'
    path.write_text(text)
    cfg = load_config(str(path), {'model.backbone.init_cfg': None})
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == 'data/pets/' and dataset.metainfo.classes == ('cat', 'dog')
    heads = build_model(cfg).roi_head
    assert heads.bbox_head.num_classes == heads.mask_head.num_classes == 2


def test_predictions_carry_the_names(followed):
    folder, _ = followed
    coco = COCO(folder / 'runs/boxes/predictions/predictions.json')
    assert [category['name'] for category in coco.cats.values()] == NAMES
    results = json.loads((folder / 'runs/maps/predictions/predictions.json').read_text())
    assert results['classes'] == ['floor', *NAMES]
    assert len(results['images']) == 4
