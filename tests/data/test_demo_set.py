"""The embedded demo set against pycocotools, plain geometry and the loaders of mmdet and mmseg."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from glmix_mm.data import demo_scenes, demo_set
from glmix_mm.data.demo_set import (
    DEMO_CLASSES,
    DEMO_SEG_CLASSES,
    write_demo_dataset,
)
from glmix_mm.errors import UserError

SMALL = dict(num_train=27, num_val=4, image_size=80)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp('demo') / 'set', **SMALL)


@pytest.fixture(scope='module', params=['train', 'val'])
def split(request, root):
    """Return (split, COCO api, picture, label map of an image id)."""
    name = request.param
    api = COCO(root / f'coco/annotations/instances_{name}2017.json')
    first = 1 if name == 'train' else SMALL['num_train'] + 1
    ade = root / 'ade/ADEChallengeData2016'
    long_name = {'train': 'training', 'val': 'validation'}[name]

    def label_map(image_id):
        path = ade / f'annotations/{long_name}/ADE_{name}_{image_id - first + 1:08d}.png'
        return np.asarray(Image.open(path))

    return name, api, label_map


def tree_hashes(root):
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_another_process_writes_the_same_bytes(root, tmp_path):
    code = (
        'import sys; from glmix_mm.data.demo_set import write_demo_dataset as write; '
        f'write(sys.argv[1], **{SMALL})'
    )
    subprocess.run([sys.executable, '-c', code, str(tmp_path / 'again')], check=True)
    hashes = tree_hashes(root)
    # Images twice (COCO, ADE20K), label maps, two json files and the marker.
    assert len(hashes) == 3 * (SMALL['num_train'] + SMALL['num_val']) + 3
    assert tree_hashes(tmp_path / 'again') == hashes


def test_masks_areas_and_boxes_agree_with_pycocotools(split):
    _, api, _ = split
    assert len(api.anns) > SMALL['num_val']
    for annotation in api.anns.values():
        rle = coco_mask.frPyObjects(annotation['segmentation'], *annotation['segmentation']['size'])
        assert coco_mask.area(rle) == annotation['area'] > 0
        assert coco_mask.toBbox(rle).tolist() == annotation['bbox']


def test_label_maps_are_the_instance_masks(split):
    _, api, label_map = split
    for image_id in api.imgs:
        expected = np.ones((SMALL['image_size'],) * 2, np.uint8)
        covered = np.zeros_like(expected)
        for annotation in api.imgToAnns[image_id]:
            mask = api.annToMask(annotation)
            covered += mask
            # category k is label k + 1: 1 is the ground, 0 is never used.
            expected[mask == 1] = annotation['category_id'] + 1
        assert covered.max() <= 1
        np.testing.assert_array_equal(label_map(image_id), expected)


def test_crowd_and_empty_images_are_there(split):
    _, api, _ = split
    crowds = [annotation for annotation in api.anns.values() if annotation['iscrowd']]
    empty = [image_id for image_id in api.imgs if not api.imgToAnns[image_id]]
    assert len(crowds) == 1
    assert [image_id - min(api.imgs) for image_id in empty] == [1, 25][: len(empty)]
    assert len(empty) == (2 if split[0] == 'train' else 1)
    assert [category['name'] for category in api.cats.values()] == list(DEMO_CLASSES)


def test_masks_are_the_pixels_that_were_drawn(monkeypatch):
    # Flat, well separated greys instead of textures: each pixel tells what it was painted with.
    greys = iter(range(20, 256, 40))

    def flat(rng, size, first, second):
        return np.full((size, size, 3), float(next(greys)))

    monkeypatch.setattr(demo_scenes, '_paint', flat)
    monkeypatch.setattr(demo_scenes, '_shading', lambda rng, size: np.ones((size, size)))
    image, things = demo_scenes.draw_scene(np.random.default_rng(3), 96, count=4, crowd=True)
    painted = image.mean(2) // 40  # 0 is the ground
    assert len(things) >= 3
    assert things[0].crowd
    for index, thing in enumerate(things, start=1):
        np.testing.assert_array_equal(painted == index, thing.mask)


def test_mmdet_loads_exact_masks_and_the_crowd(root):
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    from mmengine.dataset import Compose

    dataset = CocoDataset(
        data_root=str(root / 'coco'),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        metainfo=dict(classes=DEMO_CLASSES),
        test_mode=True,
    )
    load = Compose([LoadAnnotations(with_bbox=True, with_mask=True)])
    api = COCO(root / 'coco/annotations/instances_val2017.json')
    assert len(dataset) == SMALL['num_val']
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        loaded = load({**info, 'ori_shape': (info['height'], info['width'])})
        annotations = api.imgToAnns[info['img_id']]
        masks = [api.annToMask(annotation) for annotation in annotations]
        np.testing.assert_array_equal(loaded['gt_masks'].masks, np.reshape(masks, (-1, 80, 80)))
        assert loaded['gt_ignore_flags'].tolist() == [a['iscrowd'] == 1 for a in annotations]
        labels = [annotation['category_id'] - 1 for annotation in annotations]
        assert loaded['gt_bboxes_labels'].tolist() == labels


def test_mmseg_loads_labels_without_ignored_pixels(root):
    from mmseg.datasets import BaseSegDataset

    dataset = BaseSegDataset(
        data_root=str(root / 'ade/ADEChallengeData2016'),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        metainfo=dict(classes=DEMO_SEG_CLASSES, palette=demo_set.DEMO_SEG_PALETTE),
        reduce_zero_label=True,
        pipeline=[dict(type='LoadAnnotations', _scope_='mmseg')],
    )
    seen = set()
    for index in range(len(dataset)):
        seen |= set(np.unique(dataset[index]['gt_seg_map']).tolist())
    assert seen == set(range(len(DEMO_SEG_CLASSES)))


def test_a_complete_set_is_reused(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    assert write_demo_dataset(root, **SMALL) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == before


def test_a_set_of_other_settings_is_refused(root):
    with pytest.raises(UserError, match=r"'seed': 0.*'seed': 5"):
        write_demo_dataset(root, **SMALL, seed=5)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/notes.txt').write_text('precious')
    with pytest.raises(UserError, match='mine is not empty'):
        write_demo_dataset(tmp_path / 'mine', **SMALL)
    assert [path.name for path in tmp_path.rglob('*')] == ['mine', 'notes.txt']


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_set, '_label_map', lambda things, size: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_demo_dataset(tmp_path / 'set', **SMALL)
    assert list(tmp_path.iterdir()) == []
