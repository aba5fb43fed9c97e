"""Names beyond ASCII, in a locale whose encoding has none of them."""

import json
import os
import subprocess
import sys

import pytest

from glmix_mm.data.demo_set import write_demo_dataset

NAMES = ['Körper', '方块', 'Dreieck', 'Ζ', '🎈']
ASCII_ONLY = dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
READ = """
import sys, glmix_mm.data.coco_by_name
from mmengine.registry import DATASETS, init_default_scope
init_default_scope('mmdet')
classes = [name.encode().decode('unicode_escape') for name in sys.argv[2:]]
file = sys.argv[1] + '/annotations/instances_train2017.json'
settings = dict(ann_file=file, metainfo=dict(classes=classes), data_prefix=dict(img=''))
dataset = DATASETS.build(dict(type='CocoDatasetByName', **settings))
print(ascii([[box['bbox_label'] for box in image['instances']] for image in dataset]))
print(' '.join(classes).isascii(), sys.stdout.encoding)
"""


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """Return the folder of a demo set whose classes have these names."""
    root = tmp_path_factory.mktemp('encodings') / 'demo'
    folder = write_demo_dataset(root, num_train=6, num_val=2, image_size=64) / 'coco'
    for path in (folder / 'annotations').iterdir():
        content = json.loads(path.read_text(encoding='utf-8'))
        for category, name in zip(content['categories'], NAMES, strict=True):
            category['name'] = name
        path.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
    return folder


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | ASCII_ONLY, timeout=120
    )


def test_a_data_set_is_read_as_utf8_in_every_locale(coco):
    escaped = [name.encode('unicode_escape').decode() for name in NAMES]
    done = run('-c', READ, coco, *escaped)
    assert done.returncode == 0, done.stderr
    *_, labels, settings = done.stdout.splitlines()
    assert settings == 'False ascii'
    content = json.loads((coco / 'annotations' / 'instances_train2017.json').read_text('utf-8'))
    order = [category['id'] for category in content['categories']]
    images = {image['id']: [] for image in content['images']}
    for box in content['annotations']:
        images[box['image_id']].append(order.index(box['category_id']))
    expected = [images[number] for number in sorted(images)]
    assert json.loads(labels) == expected
    assert max(map(max, filter(None, expected))) == 4


def test_a_command_prints_names_that_the_terminal_lacks(coco):
    done = run('-m', 'glmix_mm', 'check-data', coco)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert ascii(NAMES[0])[1:-1] in done.stdout or ascii(NAMES[1])[1:-1] in done.stdout


@pytest.mark.slow
def test_a_run_writes_to_a_folder_that_the_locale_cannot_name(coco, tmp_path):
    folder, config = tmp_path / 'Grüße', 'demo/maskrcnn_glnet_nano'
    options = ['--classes-from-data', '--from-scratch', '--work-dir', folder]
    short = ['--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1']
    done = run('-m', 'glmix_mm', 'train', config, '--data-root', coco, *options, *short)
    assert done.returncode == 0, done.stderr
    assert folder.name in (folder / 'last_checkpoint').read_text(encoding='utf-8')


def test_a_command_opens_every_file_as_utf8(tmp_path):
    """Several sets of mmdet's open their lists as this config opens one."""
    (tmp_path / 'list.txt').write_text('Grüße.jpg', encoding='utf-8')
    (tmp_path / 'config.py').write_text(
        "_base_ = 'glmix_mm::demo/semfpn_glnet_nano.py'\n"
        f'name = ascii(open({str(tmp_path / "list.txt")!r}).read())\n'
    )
    done = run('-m', 'glmix_mm', 'config', tmp_path / 'config.py')
    assert repr(ascii('Grüße.jpg'))[1:-1] in done.stdout, done.stderr
