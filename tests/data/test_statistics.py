"""What is told of images, annotations and label maps, against mmdet, OpenCV and numpy."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from test_coco_checks import TRAIN, edit, make_config
from test_labelmap_checks import IMAGES, LABELS
from test_labelmap_checks import make_config as make_seg_config

from glmix_mm.data import statistics
from glmix_mm.data.coco_checks import CocoFiles
from glmix_mm.data.coco_statistics import survey_annotations
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import DEMO_SEG_CLASSES, write_demo_dataset
from glmix_mm.data.label_statistics import count_labels, refuse_other_archives
from glmix_mm.data.paths import Place
from glmix_mm.errors import UserError

KEY = 'train_dataloader.dataset'


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('survey') / 'set'
    return write_demo_dataset(folder, num_train=6, num_val=2, image_size=48)


@pytest.fixture
def root(demo, tmp_path):
    return Path(shutil.copytree(demo / 'coco', tmp_path / 'coco'))


@pytest.fixture
def ade(demo, tmp_path):
    return Path(shutil.copytree(demo / 'ade/ADEChallengeData2016', tmp_path / 'ade'))


def told(cfg):
    """Return what a check tells, as one text, and the number of images used."""
    notes = []
    images = check_datasets(cfg, ['train'], notes.append)
    return '\n'.join(notes), images['train']


def problems(cfg):
    with pytest.raises(UserError) as caught:
        check_datasets(cfg, ['train'])
    return getattr(caught.value, 'problems', [str(caught.value)])


def random_annotations(seed, path):
    """Write a file with every flaw that mmdet passes over, and some that it does not."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(8, 100, (40, 2)).tolist()
    images = [dict(id=i, file_name=f'{i}.jpg', width=w, height=h) for i, (w, h) in enumerate(sizes)]
    boxes = []
    for number in range(90):
        corner, extent = rng.integers(-30, 110, 2), rng.choice([0, 0.5, 1, 5, 30, 200], 2)
        box = [float(x) for x in (*corner, *extent)]
        boxes.append(
            dict(
                id=number,
                image_id=int(rng.integers(40)),
                category_id=int(rng.integers(1, 5)),
                bbox=box,
                area=float(rng.choice([0, 1, 50])),
                iscrowd=int(rng.random() < 0.2),
                ignore=bool(rng.random() < 0.1),
            )
        )
    categories = [dict(id=i, name=name) for i, name in enumerate('abcd', 1)]
    path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('filters', [None, dict(filter_empty_gt=True, min_size=32)])
def test_what_is_used_is_what_mmdet_uses(seed, filters, tmp_path):
    from mmdet.datasets import CocoDataset  # once the platform is ready

    path = tmp_path / 'a.json'
    random_annotations(seed, path)
    classes = ('a', 'c', 'd')
    settings = dict(ann_file=str(path), metainfo=dict(classes=classes))
    settings.update(data_prefix=dict(img=''), pipeline=[])
    dataset = CocoDataset(**settings, filter_cfg=filters)
    whole = CocoDataset(**settings)  # boxes are told of all images
    found = CocoFiles().read(str(path), Place('train', None)).annotations
    told = survey_annotations(str(path), found, classes, filters, KEY, with_masks=False)
    assert told.images == len(dataset)
    instances = [instance for image in whole for instance in image['instances']]
    text = '\n'.join(told.notes)
    assert f'{len(dataset)} of 40 images used, with {len(instances)} boxes' in text
    dropped = int(re.search(r'^(\d+) of (\d+) boxes are left out', text, re.M)[1])
    content = json.loads(path.read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    ours = [box for box in content['annotations'] if names[box['category_id']] in classes]
    assert dropped == len(ours) - len(instances)
    if filters:
        empty = int(re.search(r'classes: (\d+), left out', text)[1])
        only_empty = CocoDataset(**settings, filter_cfg=dict(filter_empty_gt=True))
        assert empty == 40 - len(only_empty)
        assert f'--cfg-options {KEY}.filter_cfg.filter_empty_gt=False' in text


def test_empty_images_are_told(root):
    edit(
        root / TRAIN,
        lambda c: c.update(annotations=[b for b in c['annotations'] if b['image_id'] > 3]),
    )
    text, images = told(make_config(root, filter_cfg=dict(filter_empty_gt=True)))
    assert images == 3
    assert 'train data: 3 of 6 images used' in text
    assert 'images without an object of the classes: 3, left out' in text
    text, images = told(make_config(root))
    assert images == 6
    assert 'images without an object of the classes: 3, used' in text


def test_a_set_that_loses_all_images_is_refused(root):
    cfg = make_config(root, filter_cfg=dict(min_size=64))
    assert 'all 6 images' in problems(cfg)[0]


@pytest.mark.parametrize(
    ('mask', 'expected'),
    [
        (dict(size=[48, 40], counts='P1'), 'of size [48, 40]'),
        (dict(size=[48, 48], counts=[1, 2]), 'sum up to 3 instead of 48 x 48'),
    ],
)
def test_masks_that_would_stop_training(root, mask, expected):
    edit(root / TRAIN, lambda c: c['annotations'][0].update(segmentation=mask))
    assert expected in problems(make_config(root))[0]
    without = [dict(type='LoadAnnotations', with_bbox=True)]
    check_datasets(make_config(root, pipeline=without), ['train'])


def test_masks_that_mmdet_ignores(root):
    edit(root / TRAIN, lambda c: c['annotations'][0].update(segmentation=[[1, 2, 3, 4]]))
    assert 'fewer than three points: 1' in told(make_config(root))[0]


@pytest.mark.parametrize('box', [[1, 2, 3], [1, 2, float('nan'), 4], ['a', 1, 2, 3]])
def test_boxes_that_are_none(root, box):
    edit(root / TRAIN, lambda c: c['annotations'][0].update(bbox=box))
    assert 'is not four numbers' in problems(make_config(root))[0]


def test_unreadable_and_resized_images(root):
    paths = sorted((root / 'train2017').iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:-300])
    paths[1].write_bytes(b'no image')
    Image.new('RGB', (40, 48)).save(paths[2])
    broken, sizes = problems(make_config(root))
    assert broken.startswith('2 of the 6 images ')
    assert str(paths[0]) in broken
    assert f'{paths[2].name} is 40 x 48, stated as 48 x 48' in sizes
    with pytest.raises(UserError, match=r'\(1 more: glmix check-data\)'):
        check_datasets(make_config(root), ['train'])


@pytest.mark.parametrize('ending', ['jpg', 'png'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_sizes_are_those_that_training_loads(orientation, ending, tmp_path):
    path, exif = tmp_path / f'a.{ending}', Image.Exif()
    exif[statistics.ORIENTATION] = orientation
    Image.new('RGB', (24, 16)).save(path, exif=exif)
    height, width = mmcv.imread(str(path)).shape[:2]
    assert statistics.read_size(str(path)) == (width, height)


def test_images_that_only_opencv_reads(tmp_path):
    path = tmp_path / 'a.hdr'
    cv2.imwrite(str(path), np.zeros((16, 24, 3), np.float32))
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)
    assert statistics.read_size(str(path), decode=True) == (24, 16)


def test_turned_images_are_explained(root):
    path = sorted((root / 'train2017').iterdir())[0]
    exif = Image.Exif()
    exif[statistics.ORIENTATION] = 6
    Image.new('RGB', (48, 32)).save(path, exif=exif)
    edit(root / TRAIN, lambda c: c['images'][0].update(width=48, height=32))
    without = [dict(type='LoadAnnotations', with_bbox=True)]
    problem = problems(make_config(root, pipeline=without))[0]
    assert 'is 32 x 48, stated as 48 x 32' in problem


def test_a_sample_is_told(root, monkeypatch):
    monkeypatch.setattr(statistics, 'HEADERS', 4)
    monkeypatch.setattr(statistics, 'DECODED', 2)
    assert 'train data: 4 of 6 images opened, 2 of 6 decoded' in told(make_config(root))[0]


def test_labels_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    for number, array in enumerate(
        [
            rng.integers(0, 256, (9, 7)).astype(np.uint8),
            rng.integers(0, 256, (9, 7)).astype(np.uint16),
            rng.integers(0, 256, (9, 7)).astype(np.float32),
            rng.random((9, 7)) > 0.5,
        ]
    ):
        path = tmp_path / (f'{number}.tif' if array.dtype == np.float32 else f'{number}.png')
        Image.fromarray(array).save(path)
        values, counts = np.unique(array, return_counts=True)
        assert count_labels(str(path)) == Counter(
            dict(zip(values.tolist(), counts.tolist(), strict=True))
        )


@pytest.mark.parametrize('label', [256, 65535, 0.5, -1, np.nan])
def test_labels_that_are_no_bytes(label, tmp_path):
    """What training would refuse, or cut down to a byte, is not counted as a class."""
    path = tmp_path / 'map.tif'
    kind = np.uint16 if label > 1 else np.float32
    Image.fromarray(np.array([[0, 1], [1, label]]).astype(kind)).save(path)
    with pytest.raises(UserError, match='one byte per pixel') as caught:
        count_labels(str(path))
    assert str(path) in str(caught.value)


def test_the_label_histogram(ade):
    text, images = told(make_seg_config(ade))
    assert images == 6
    every = np.stack([np.asarray(Image.open(path)) for path in (ade / LABELS).iterdir()])
    for label, name in enumerate(DEMO_SEG_CLASSES, 1):
        share = 100 * (every == label).mean()
        assert (f'{name} {share:.3g} %' in text) == (share > 0)
    assert 'labels of all 6 label maps' in text
    assert 'reduce_zero_label=True: label 0 (0 % of the pixels) and 255 (0 %)' in text
    assert "1 is 'ground'" in text


def test_what_reduce_zero_label_would_do(ade):
    for path in (ade / LABELS).iterdir():
        Image.fromarray(np.asarray(Image.open(path)) - 1).save(path)
    text, _ = told(make_seg_config(ade, reduce_zero_label=False))
    share = re.search(r'ground ([\d.]+) %', text)[1]
    assert f"label 0 is 'ground' ({share} %" in text and "make 1 'ground'" in text


def test_label_maps_of_another_size(ade):
    path = ade / LABELS / 'ADE_train_00000002.png'
    Image.open(path).resize((24, 48), Image.Resampling.NEAREST).save(path)
    (ade / IMAGES / 'ADE_train_00000003.jpg').write_bytes(b'none')
    broken, sizes = problems(make_seg_config(ade))
    assert '1 of the 6 images' in broken and '1 of the 6 label maps' in sizes
    assert f'{path} is 24 x 48, ADE_train_00000002.jpg 48 x 48' in sizes


@pytest.mark.parametrize(
    ('entries', 'expected'),
    [
        (['ADE20K_2021_17_01/index_ade20k.pkl'], 'the full ADE20K (ADE20K_2021_17_01)'),
        (['index_ade20k.mat', 'images/training/x.txt'], 'the full ADE20K (index_ade20k.mat)'),
        (['images/training/a/abbey/ADE_train_1_seg.png'], 'the full ADE20K'),
        (['annotations_instance/training/1.png', 'images/training/1.jpg'], 'instance annotations'),
        (['testing/1.jpg', 'list.txt'], 'release_test.zip'),
    ],
)
def test_other_archives_of_ade20k(tmp_path, entries, expected):
    for entry in entries:
        (tmp_path / entry).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / entry).touch()
    with pytest.raises(UserError) as caught:
        refuse_other_archives(str(tmp_path))
    assert expected in str(caught.value)
    assert 'ADEChallengeData2016.zip' in str(caught.value)
    assert expected in problems(make_seg_config(tmp_path))[0]


def in_both(root, change):
    """Change every annotation of both files."""
    for split in ('train', 'val'):
        path = root / f'annotations/instances_{split}2017.json'
        edit(path, lambda c: [change(box) for box in c['annotations']])


def as_fractions(box):
    box.update(bbox=[value / 48 for value in box['bbox']], segmentation=[])


def as_corners(box):
    x, y, width, height = box['bbox']
    box['bbox'] = [x, y, x + width, y + height]


LOST = {
    'crowds': (lambda box: box.update(iscrowd=1), 'set it to 0'),
    'fractions': (as_fractions, 'fractions'),
    'no area': (lambda box: box.update(area=0), "fill 'area'"),
    'ignored': (lambda box: box.update(ignore=1), "set 'ignore' to 0"),
}


@pytest.mark.parametrize('kind', LOST)
def test_a_set_that_leaves_nothing_to_learn_is_refused(root, kind):
    change, cause = LOST[kind]
    count = len(json.loads((root / TRAIN).read_text())['annotations'])
    in_both(root, change)
    (text,) = problems(make_config(root, pipeline=[]))
    assert f'none of the {count} boxes' in text
    assert text.startswith(f'{root}/{TRAIN}') and cause in text


@pytest.mark.parametrize(('kind', 'refused'), [('crowds', 1), ('fractions', 1), ('no area', 0)])
def test_what_coco_cannot_score_is_refused(root, kind, refused):
    in_both(root, LOST[kind][0])
    cfg = make_config(root, pipeline=[], test_mode=True)
    notes = []
    if refused:
        with pytest.raises(UserError, match='to score against'):
            check_datasets(cfg, ['val'], notes.append)
    else:  # COCO takes areas of 0, mmdet's training does not
        check_datasets(cfg, ['val'], notes.append)
        assert any('warning' in note and "fill 'area'" in note for note in notes)


def test_corners_instead_of_sizes_are_told(root):
    in_both(root, as_corners)
    text, _ = told(make_config(root, pipeline=[]))
    assert 'warning' in text and 'two corners' in text


def test_boxes_in_images_that_are_too_small_are_not_left(root):
    def shrink(content):
        for image in content['images'][1:]:
            image.update(width=40)

    edit(root / TRAIN, shrink)
    edit(
        root / TRAIN,
        lambda c: [box.update(iscrowd=box['image_id'] == 1) for box in c['annotations']],
    )
    cfg = make_config(root, pipeline=[], filter_cfg=dict(min_size=48))
    assert any('is left to learn from' in problem for problem in problems(cfg))


def test_a_class_that_keeps_no_box_is_told(root):
    content = json.loads((root / TRAIN).read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    number = content['annotations'][0]['category_id']
    for box in content['annotations']:
        box['iscrowd'] = int(box['category_id'] == number)
    (root / TRAIN).write_text(json.dumps(content))
    text, _ = told(make_config(root))
    (line,) = [line for line in text.splitlines() if 'classes without a box to learn from' in line]
    assert 'warning' in line and repr(names[number]) in line and "marked 'iscrowd'" in line
