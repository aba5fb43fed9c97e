"""What a folder holds is named where it is no layout that is read."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from glmix_mm.config.classes import use_found
from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.load_config import load_config
from glmix_mm.data.classes_from_data import read_classes, suiting_config
from glmix_mm.data.demo_set import DEMO_CLASSES, write_demo_dataset
from glmix_mm.data.formats import describe_format
from glmix_mm.errors import UserError

FORMATS = {
    'yolo/labels/train/a.txt': ('0 0.5 0.5 0.25 0.25\n', 'YOLO'),
    'yolo/labels/train/b.txt': ('3 0.1 0.1 0.9 0.1 0.9 0.9\n', 'YOLO'),  # a polygon
    'yolo/data.yaml': ('train: images/train\nnc: 1\nnames: [a]\n', 'YOLO'),
    'voc/Annotations/a.xml': ('<?xml version="1.0"?>\n<annotation verified="no"/>', 'Pascal VOC'),
    'voc/Annotations/b.xml': ('<annotation>\n<folder>x</folder></annotation>', 'Pascal VOC'),
    'cvat/annotations.xml': ('<annotations><version>1.1</version></annotations>', 'CVAT'),
    'labelme/a.json': ('{"version": "5", "shapes": [], "imagePath": "a.jpg"}', 'labelme'),
    'coco/x/result.json': ('{"images": [], "categories": []}', "COCO's json"),
    'ImageSets/Segmentation/train.txt': ('2007_1\n', 'SegmentationClass'),
    'train/_classes.csv': ('Pixel Value, Class\n0, a\n', 'Roboflow'),
}


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('formats') / 'set'
    return write_demo_dataset(folder, num_train=3, num_val=2, image_size=64) / 'coco'


@pytest.mark.parametrize('path', FORMATS)
def test_a_format_is_named_with_its_file(path, tmp_path):
    text, name = FORMATS[path]
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    with pytest.raises(UserError) as caught:
        suiting_config(tmp_path)
    message = str(caught.value)
    assert message.startswith(f'{tmp_path}: {path} is ')
    assert name in message and '\n' not in message


def test_a_large_json_is_known_by_its_end(tmp_path):
    entries = ','.join('{"id": 1}' for _ in range(300_000))
    text = f'{{"annotations": [{entries}], "categories": [], "images": []}}'
    (tmp_path / 'my data.json').write_text(text)
    with pytest.raises(UserError, match="COCO's json") as caught:
        suiting_config(tmp_path)
    assert "ann_file='my data.json'" in str(caught.value)


def test_images_and_masks_that_are_not_split(tmp_path):
    for name in ('images/a.jpg', 'masks/a.png'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r'1 \*\.jpg, 1 \*\.png: .*images/val'):
        suiting_config(tmp_path)


def test_images_whose_names_have_other_folders(demo, tmp_path):
    shutil.copytree(demo, tmp_path / 'set')
    for path in (tmp_path / 'set/annotations').glob('*.json'):
        path.write_text(path.read_text().replace('"file_name": "', '"file_name": "/home/me/'))
    with pytest.raises(UserError, match=r'train2017 .*folders'):
        suiting_config(tmp_path / 'set')


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.txt', 'cat\ndog\n'),
        ('a.txt', '1 2\n'),
        ('a.txt', ''),
        ('a.json', '[1]'),
        ('a.xml', '<x/>'),
    ],
)
def test_other_files_are_none(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert describe_format(tmp_path) == ''


def test_yolo_in_folders_of_label_maps_is_no_segmentation(tmp_path):
    for part in ('images', 'labels'):
        (tmp_path / part / 'train').mkdir(parents=True)
    (tmp_path / 'labels/train/a.txt').write_text('0 0.5 0.5 0.25 0.25\n')
    with pytest.raises(UserError, match='YOLO'):
        suiting_config(tmp_path)


def use(root, *options):
    cfg = load_config('demo/maskrcnn_glnet_nano', None)
    apply_data_root(cfg, str(root))
    cfg.merge_from_dict(dict(option.split('=', 1) for option in options))
    return cfg, use_found(cfg, read_classes(cfg))


def test_cvats_export_works_with_the_options_named(demo, tmp_path):
    (tmp_path / 'annotations').mkdir()
    shutil.copytree(demo / 'train2017', tmp_path / 'images/default')
    name = 'annotations/instances_default.json'
    shutil.copy(demo / 'annotations/instances_train2017.json', tmp_path / name)
    with pytest.raises(UserError) as caught:
        suiting_config(tmp_path)
    option = f'train_dataloader.dataset.ann_file={name}'
    assert option in str(caught.value)
    options = [option, 'train_dataloader.dataset.data_prefix.img=images/default']
    rest = [text.replace('train', split) for split in ('val', 'test') for text in options]
    cfg, _ = use(tmp_path, *options, *rest)
    assert cfg.train_dataloader.dataset.metainfo.classes == DEMO_CLASSES
    assert cfg.val_evaluator.ann_file == str(tmp_path / name)


def test_subsets_with_capitals(demo, tmp_path):
    (tmp_path / 'annotations').mkdir()
    for old, new in (('train', 'Train'), ('val', 'Validation')):
        shutil.copytree(demo / f'{old}2017', tmp_path / 'images' / new)
        source = demo / f'annotations/instances_{old}2017.json'
        shutil.copy(source, tmp_path / f'annotations/instances_{new}.json')
    cfg, _ = use(tmp_path)
    assert cfg.train_dataloader.dataset.ann_file == 'annotations/instances_Train.json'
    assert cfg.val_dataloader.dataset.data_prefix.img == 'images/Validation'


def test_backslashes_and_the_command_that_replaces_them(demo, tmp_path):
    (tmp_path / 'images').mkdir()
    for split in ('train', 'val'):
        for image in (demo / f'{split}2017').iterdir():
            shutil.copy(image, tmp_path / 'images')
        content = json.loads((demo / f'annotations/instances_{split}2017.json').read_text())
        for image in content['images']:
            image['file_name'] = 'images\\' + image['file_name']
        (tmp_path / f'{split}.json').write_text(json.dumps(content))
    for split in ('train', 'val'):
        with pytest.raises(UserError) as caught:
            use(tmp_path)
        command = str(caught.value).partition('sed ')[2].partition(' replaces')[0]
        assert command.endswith(f'{split}.json')
        subprocess.run(f'sed {command}', shell=True, check=True)
    assert Path(f'{tmp_path}/train.json.bak').is_file()
    cfg, _ = use(tmp_path)
    assert cfg.train_dataloader.dataset.ann_file == 'train.json'


def test_roboflows_group_is_no_class(demo, tmp_path):
    root = shutil.copytree(demo, tmp_path / 'own')
    for split in ('train', 'val'):
        path = root / f'annotations/instances_{split}2017.json'
        content = json.loads(path.read_text())
        for category in content['categories']:
            category['supercategory'] = 'shapes'
        group = dict(id=0, name='shapes', supercategory='none')
        content['categories'].insert(0, group)
        path.write_text(json.dumps(content))
    cfg, notes = use(root)
    assert cfg.train_dataloader.dataset.metainfo.classes == DEMO_CLASSES
    assert any("'shapes'" in note for note in notes)
