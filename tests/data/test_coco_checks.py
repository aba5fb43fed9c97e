"""Every mistake in a COCO-style data set ends in one line that says what to do."""

import json
import os
import shutil

import pytest
from mmengine.config import Config

from glmix_mm.compat.startup import config_root
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import DEMO_CLASSES, write_demo_dataset
from glmix_mm.errors import UserError
from glmix_mm.utils.nested import heads_classes

TRAIN = 'annotations/instances_train2017.json'
VAL = 'annotations/instances_val2017.json'


@pytest.fixture(scope='module')
def demo_coco(tmp_path_factory):
    folder = tmp_path_factory.mktemp('layout') / 'set'
    return write_demo_dataset(folder, num_train=4, num_val=3, image_size=64) / 'coco'


@pytest.fixture
def root(demo_coco, tmp_path):
    shutil.copytree(demo_coco, tmp_path / 'coco')
    return tmp_path / 'coco'


def make_config(root, classes=DEMO_CLASSES, num_classes=5, **dataset):
    def loader(split):
        settings = dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix=dict(img=f'{split}2017/'),
            pipeline=[dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
        )
        if classes is not None:
            settings['metainfo'] = dict(classes=classes)
        return dict(dataset={**settings, **dataset})

    head = dict(type='Shared2FCBBoxHead', num_classes=num_classes)
    evaluator = dict(type='CocoMetric', ann_file=f'{root}/annotations/instances_val2017.json')
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(
                backbone=dict(type='GLNet', num_classes=1000),
                rpn_head=dict(type='RPNHead', num_classes=1),
                roi_head=dict(bbox_head=[head, head], mask_head=dict(num_classes=num_classes)),
            ),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            val_evaluator=evaluator,
        )
    )


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def failure(cfg, splits=('train', 'val')):
    with pytest.raises(UserError) as caught:
        check_datasets(cfg, splits)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_a_good_set_passes_through_wrappers(root):
    cfg = make_config(root)
    check_datasets(cfg, ['train', 'val', 'test'])
    inner = cfg.train_dataloader.dataset
    concat = dict(type='ConcatDataset', datasets=[inner, inner])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=concat)
    check_datasets(cfg, ['train'])
    (root / TRAIN).unlink()
    assert TRAIN in failure(cfg)


def test_missing_folder_names_layout_and_option(root):
    message = failure(make_config(root / 'nowhere'))
    assert message.startswith('train data: ') and f'{root}/nowhere' in message
    for part in ('annotations/instances_train2017.json', 'val2017/', '--data-root DIR'):
        assert part in message


def test_empty_folder(root, tmp_path):
    (tmp_path / 'void').mkdir()
    assert f'{tmp_path}/void is empty' in failure(make_config(tmp_path / 'void'))


def test_missing_annotation_file(root):
    (root / TRAIN).unlink()
    message = failure(make_config(root))
    assert f'{root}/{TRAIN} is missing' in message
    assert '--data-root DIR' in message


def test_missing_image_folder(root):
    shutil.rmtree(root / 'train2017')
    assert f'{root}/train2017 is missing' in failure(make_config(root))


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'{"images": [1, 2', 'line 1, column 17'),
        (b'', 'line 1, column 1'),
        (
            b'\xef\xbb\xbf{}',
            'byte order mark',
        ),
        (b'\x1f\x8b\x08\x00', 'byte 1 is not UTF-8'),
        (b'[1, 2]', "'images', 'annotations' and 'categories'"),
        (b'{"boxes": []}', "found 'boxes'"),
        (b'{"images": [], "annotations": [], "categories": []}', 'lists no images'),
    ],
)
def test_broken_annotation_file(root, content, expected):
    (root / TRAIN).write_bytes(content)
    message = failure(make_config(root))
    assert message.startswith(f'{root}/{TRAIN}: ')
    assert expected in message


def drop(entry, key):
    return lambda content: content[entry][2].pop(key)


def rename_categories(content):
    for category in content['categories']:
        category['name'] = category['name'].upper()


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (drop('images', 'height'), "images[2] has no 'height'"),
        (drop('annotations', 'area'), "annotations[2] has no 'area'"),
        (drop('categories', 'name'), "categories[2] has no 'name'"),
        (drop('annotations', 'segmentation'), "1 annotations have no 'segmentation'"),
        (lambda c: c.pop('annotations'), "no 'annotations'"),
        (lambda c: c.update(annotations=[]), 'no annotation'),
        (lambda c: c['annotations'][0].update(category_id=77), 'category_id 77, which'),
        (lambda c: c['annotations'][0].update(image_id=991), 'image_id 991, which'),
        (rename_categories, "'disc', 'square'"),
        (
            lambda c: c['categories'][3].update(name='comet'),
            "'star', the file has 'disc', 'square', 'triangle', 'comet', 'ring'",
        ),
        (lambda c: c['categories'].reverse(), "('ring', 'star', 'triangle'"),
    ],
)
def test_annotations_that_do_not_fit(root, change, expected):
    edit(root / TRAIN, change)
    message = failure(make_config(root))
    assert message.startswith(f'{root}/{TRAIN}: ')
    assert expected in message


def test_missing_images_are_counted(root):
    (root / 'train2017/000000000002.jpg').unlink()
    (root / 'train2017/000000000004.jpg').unlink()
    message = failure(make_config(root))
    assert '2 of its 4' in message and f'{root}/train2017' in message
    assert '000000000002.jpg' in message


def test_images_in_subfolders_are_found_with_one_listing_each(root, monkeypatch):
    (root / 'train2017/a').mkdir()
    os.rename(root / 'train2017/000000000003.jpg', root / 'train2017/a/x.jpg')
    edit(root / TRAIN, lambda c: c['images'][2].update(file_name='a/x.jpg'))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: listed.append(str(path)) or scandir(path))
    check_datasets(make_config(root), ['train'])
    assert len(listed) <= 4  # the root, the image folder twice, its subfolder


def test_mmdets_own_classes_are_expected_without_metainfo(root):
    message = failure(make_config(root, classes=None))
    assert '80 classes' in message and "'person', 'bicycle'" in message
    assert "'disc', 'square', 'triangle', 'star', 'ring'" in message


def test_one_class_written_without_a_comma(root):
    message = failure(make_config(root, classes='disc'))
    assert "classes='disc'" in message
    assert "('disc',)" in message


def test_a_selection_of_the_classes_is_allowed_and_told(root):
    told = []
    classes = tuple(c for c in DEMO_CLASSES if c != 'disc')
    check_datasets(make_config(root, classes=classes, num_classes=4), ['train'], told.append)
    content = json.loads((root / TRAIN).read_text())
    (number,) = [entry['id'] for entry in content['categories'] if entry['name'] == 'disc']
    count = sum(box['category_id'] == number for box in content['annotations'])
    (note,) = [note for note in told if "'disc'" in note]
    assert f'train data: {count} boxes' in note


def test_heads_of_another_number_of_classes(root):
    message = failure(make_config(root, num_classes=80))
    assert 'model.roi_head.bbox_head.0.num_classes=80' in message
    assert '5 classes (disc, square, triangle, ...)' in message
    assert message.count('model.roi_head.mask_head.num_classes=5') == 1


def test_heads_are_found_in_a_real_config():
    model = Config.fromfile(config_root() / 'maskrcnn_glnet_4g_3x.py').model
    assert dict(heads_classes(model, 'model')) == {
        'model.roi_head.bbox_head.num_classes': 80,
        'model.roi_head.mask_head.num_classes': 80,
    }


def test_evaluator_of_other_images(root):
    cfg = make_config(root)
    cfg.val_evaluator.ann_file = f'{root}/{TRAIN}'
    assert '3 of the 3' in failure(cfg)
    cfg.val_evaluator.ann_file = f'{root}/none.json'
    assert f'val data: {root}/none.json is missing' in failure(cfg)


def test_test_images_without_annotations_can_be_formatted_only(root):
    cfg = make_config(root)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = dict(cfg.val_evaluator, format_only=True)
    edit(root / 'annotations/instances_val2017.json', lambda c: c.pop('annotations'))
    check_datasets(cfg, ['test'])
    assert "no 'annotations'" in failure(cfg, ['val'])


def test_annotation_ids_that_are_replaced_are_told_once(root):
    content = json.loads((root / VAL).read_text())
    for number, entry in enumerate(content['annotations']):
        entry['id'] = number
    (root / VAL).write_text(json.dumps(content))
    before = (root / VAL).read_bytes()
    cfg, notes = make_config(root), []
    cfg.val_evaluator = [cfg.val_evaluator, cfg.val_evaluator]
    check_datasets(cfg, ['train', 'val'], notes.append)
    told = [note for note in notes if 'pycocotools' in note]
    (note,) = told
    assert str(root / VAL) in note and '1, 2, 3' in note
    assert (root / VAL).read_bytes() == before
