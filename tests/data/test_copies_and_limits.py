"""Images that are there twice, and more objects than a model returns or COCO counts."""

import json
import shutil

import cv2
import numpy as np
import pytest
from test_coco_checks import TRAIN, VAL, edit, make_config

from glmix_mm.config.classes import use_found
from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.load_config import load_config
from glmix_mm.data.classes_from_data import read_classes
from glmix_mm.data.copies import find_copies
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import write_demo_dataset


@pytest.fixture
def root(tmp_path):
    return write_demo_dataset(tmp_path / 'set', num_train=4, num_val=4, image_size=64) / 'coco'


def warnings(cfg, splits=('train', 'val')):
    notes = []
    check_datasets(cfg, splits, notes.append)
    return [note for note in notes if 'warning' in note]


def test_a_file_is_found_by_its_content(tmp_path):
    for name, content in dict(a=b'1' * 9000, b=b'2' * 9000, c=b'1' * 9000, d=b'1').items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'e').write_bytes(b'1' * 4500 + b'2' + b'1' * 4499)  # differs in the middle
    a, b, c, d, e = (str(tmp_path / name) for name in 'abcde')
    assert find_copies([a, b, d], [b, c, e]) == {a: c, b: b}
    both = [a, b, c]
    assert find_copies(both, both) == {a: c, c: a}
    assert find_copies([e], [a, d, str(tmp_path / 'none')]) == {}


def test_validation_images_that_training_sees(root):
    assert not [note for note in warnings(make_config(root)) if 'training images' in note]
    name = json.loads((root / VAL).read_text())['images'][1]['file_name']
    shutil.copy(root / 'val2017' / name, root / 'train2017/renamed.jpg')
    image = dict(id=77, file_name='renamed.jpg', width=64, height=64)
    edit(root / TRAIN, lambda c: c['images'].append(image))
    (line,) = [note for note in warnings(make_config(root)) if 'training images' in note]
    assert 'val data: warning: 1 of all 4' in line
    assert f'val2017/{name}' in line and 'train2017/renamed.jpg' in line


def test_images_of_classes_are_compared_as_well(tmp_path):
    for split in ('train', 'val'):
        for number, name in enumerate('ab'):
            (tmp_path / split / name).mkdir(parents=True)
            cv2.imwrite(f'{tmp_path}/{split}/{name}/1.png', np.full((8, 8, 3), number, np.uint8))
    cv2.imwrite(f'{tmp_path}/train/a/2.png', np.full((8, 8, 3), 1, np.uint8))
    cfg = load_config('_base_/finetune/classifier')
    apply_data_root(cfg, str(tmp_path))
    use_found(cfg, read_classes(cfg))
    notes = []
    check_datasets(cfg, ['train', 'val'], notes.append)
    notes = '\n'.join(notes)
    assert '2 of all 3 images' in notes and 'another name' in notes
    assert 'warning: 2 of all 2 images' in notes and 'training images' in notes


def test_an_image_that_is_listed_twice(root):
    name = json.loads((root / TRAIN).read_text())['images'][1]['file_name']
    again = dict(id=77, file_name=f'./{name}', width=64, height=64)
    edit(root / TRAIN, lambda c: c['images'].append(again))
    (line,) = [note for note in warnings(make_config(root)) if 'more than once' in note]
    assert 'warning: 1 images' in line and '77' in line and name in line


def crowd_image(root, count, categories):
    """Put small objects into the first validation image."""

    def add(content):
        numbers = [entry['id'] for entry in content['categories']][:categories]
        box = dict(image_id=content['images'][0]['id'], bbox=[1, 1, 4, 4], area=16, iscrowd=0)
        content['annotations'] = [
            dict(box, id=1 + i, category_id=numbers[i % categories]) for i in range(count)
        ]

    edit(root / VAL, add)


@pytest.mark.parametrize(
    ('count', 'categories', 'numbers', 'told'),
    [
        (100, 1, None, 0),
        (101, 1, None, 1),
        (101, 2, None, 0),  # COCO counts the detections of each class
        (150, 1, [1, 10, 150], 0),
        (151, 1, [1, 10, 150], 1),
        (151, 1, (100, 300, 1000), 1),  # of which mAP counts 100
    ],
)
def test_objects_that_map_does_not_count(root, count, categories, numbers, told):
    crowd_image(root, count, categories)
    cfg = make_config(root, pipeline=[])
    if numbers:
        cfg.val_evaluator.proposal_nums = numbers
    found = [note for note in warnings(cfg) if 'proposal_nums' in note]
    assert len(found) == told
    if told:
        assert f'val_evaluator.proposal_nums="[1,10,{count}]"' in found[0]


def test_objects_that_the_model_does_not_return(root):
    crowd_image(root, 60, 3)
    cfg = make_config(root, pipeline=[])
    cfg.model.test_cfg = dict(rpn=dict(max_per_img=50), rcnn=dict(max_per_img=59))
    cfg.model.train_cfg = dict(rpn_proposal=dict(max_per_img=50))
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    for split in ('val', 'test'):
        (line,) = warnings(cfg, [split])[-1:]
        assert f'{split} data: warning' in line
        assert 'model.test_cfg.rcnn.max_per_img=60' in line
    cfg.model.test_cfg.rcnn.max_per_img = 60
    assert not [note for note in warnings(cfg, ['val']) if 'max_per_img' in note]
    cfg.model.num_queries = 30
    assert 'model.num_queries=60' in warnings(cfg, ['val'])[-1]
    cfg.model.rpn_head = dict(num_proposals=40)  # Sparse R-CNN's queries
    assert 'model.rpn_head.num_proposals=60' in str(warnings(cfg, ['val']))
