"""The lines of docs/any_detector.md: every tool on mmdet's and mmseg's models, small."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.config import Config
from page_models import CASES, CLASSES, STEPS, write
from PIL import Image
from pycocotools import mask as run_lengths

from glmix_mm import load
from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.inference import predict, test
from glmix_mm.models.build import build_model
from glmix_mm.profiling.flops import build
from glmix_mm.training import train

QUICK = ['mmdet atss_r50_fpn_1x_coco', 'mmdet rtmdet_l_8xb32-300e_coco']
QUICK.append('mmseg segformer_mit-b0_8xb2-160k_ade20k-512x512')


def call(tool, *arguments) -> None:
    assert run(tool.main, [*map(str, arguments)]) == 0


def train_three_steps(config: Path, demo_root: Path) -> Path:
    """Train, for the demo set's classes; return the folder of the run."""
    run_dir = config.parent / 'run'
    classes = () if 'BaseSegDataset' in config.read_text() else ('--classes-from-data',)
    call(train, config, '--data-root', demo_root, '--work-dir', run_dir, *classes)
    check_gradients(run_dir / f'iter_{STEPS}.pth')
    return run_dir


def check_gradients(path: Path) -> None:
    """Check that each parameter of the backbone had one: AdamW keeps moments of those alone.

    Distributed training refuses others, such as the norm of an output that no one uses. The
    backbone's parameters are the optimizer's first.
    """
    checkpoint = read_checkpoint(path)
    backbone = [key for key in checkpoint['state_dict'] if key.startswith('backbone.')]
    count = sum(not re.search(r'running_|num_batches', key) for key in backbone)
    assert set(range(count)) <= checkpoint['optimizer']['state'].keys()


def first_photo(folder: Path) -> Path:
    return min(folder.iterdir())


def check_detector(run_dir: Path, demo_root: Path) -> None:
    """Check that load, predict and test find the same."""
    checkpoint, out = run_dir / f'iter_{STEPS}.pth', run_dir.parent / 'out.json'
    data = ('--data-root', demo_root, '--work-dir', run_dir.parent / 'test')
    call(test, run_dir / 'config.py', checkpoint, *data, '--out', out)
    (config,) = (run_dir.parent / 'test').glob('*/config.py')  # which knows where the data set is
    photo = first_photo(demo_root / 'coco' / 'val2017')
    found = predicted(config, checkpoint, photo, '--score-thr', 0)
    expected = load(config, checkpoint, 'cpu')(photo).pred_instances
    scores = [one['score'] for one in found['annotations']]
    assert len(scores) == len(expected) > 0
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
    # All images of a batch have one size, so test finds the same.
    (image,) = found['images']
    same = [one for one in json.loads(out.read_text()) if one['image_id'] == image['id']]
    assert image['id'] == int(photo.stem)
    np.testing.assert_allclose([one['score'] for one in same], scores, atol=1e-5)
    assert [one['category_id'] for one in same] == expected.labels.add(1).tolist()


def check_segmentor(run_dir: Path, demo_root: Path) -> None:
    """Check that load, predict and test find the same."""
    checkpoint, out = run_dir / f'iter_{STEPS}.pth', run_dir.parent / 'out'
    data = ('--data-root', demo_root, '--work-dir', run_dir.parent / 'test')
    call(test, run_dir / 'config.py', checkpoint, *data, '--out', out)
    photo = first_photo(demo_root / 'ade' / 'ADEChallengeData2016' / 'images' / 'validation')
    predicted(run_dir / 'config.py', checkpoint, photo)
    labels = run_dir.parent / 'found' / 'labels' / f'{photo.stem}.png'
    found = np.asarray(Image.open(labels))
    expected = load(run_dir / 'config.py', checkpoint, 'cpu')(photo).pred_sem_seg.data[0].numpy()
    assert (found == expected).all()
    # Of a set that ignores label 0, the classes count from 1 in the files that are handed in.
    assert (np.asarray(Image.open(out / f'{photo.stem}.png')) == expected + 1).all()


def predicted(config: Path, checkpoint: Path, photo: Path, *options) -> dict:
    """Return what predict writes."""
    out = checkpoint.parents[1] / 'found'
    call(predict, config, checkpoint, photo, '--out', out, '--device', 'cpu', *options)
    return json.loads((out / 'predictions.json').read_text())


def test_the_page_names_many():
    libraries = [case.library for case in CASES.values()]
    assert (libraries.count('mmdet'), libraries.count('mmseg')) == (26, 6)


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES]
)
def test_trains_saves_loads_and_predicts(name, demo_root, tmp_path):
    case = CASES[name]
    run_dir = train_three_steps(write(case, tmp_path), demo_root)
    check = check_detector if case.library == 'mmdet' else check_segmentor
    check(run_dir, demo_root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('family', 'name'),
    [
        ('dilateformer', 'mmdet mask-rcnn_r50_fpn_1x_coco'),
        ('dilateformer', 'mmdet rtmdet_l_8xb32-300e_coco'),
        ('dilateformer', 'mmseg upernet_r50_4xb4-160k_ade20k-512x512'),
        ('fcvit', 'mmdet atss_r50_fpn_1x_coco'),
        ('fcvit', 'mmdet dino-4scale_r50_8xb2-12e_coco'),
        ('fcvit', 'mmseg fpn_r50_4xb4-160k_ade20k-512x512'),
    ],
)
def test_other_families(family, name, demo_root, tmp_path):
    case = CASES[name]
    run_dir = train_three_steps(write(case, tmp_path, family), demo_root)
    check = check_detector if case.library == 'mmdet' else check_segmentor
    check(run_dir, demo_root)


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_builds_at_full_size(name, tmp_path):
    """The lines as they stand, GLNet-4G included; every weight is trained, none frozen."""
    (tmp_path / 'lines.py').write_text(CASES[name].lines)
    cfg = load_config(str(tmp_path / 'lines.py'))
    model = build(cfg)
    assert sum(p.numel() for p in model.backbone.parameters()) > 14e6
    assert all(p.requires_grad for p in model.parameters())
    images = cfg.model.data_preprocessor
    assert (images.mean, images.std) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert images.bgr_to_rgb


@pytest.mark.slow
def test_a_panoptic_map(demo_root, tmp_path):
    """The segments are told as objects; together they are the map."""
    config = write(CASES['mmdet mask2former_r50_8xb2-lsj-50e_coco'], tmp_path)
    cfg = Config.fromfile(config)
    head, fusion = cfg.model.panoptic_head, cfg.model.panoptic_fusion_head
    head.num_things_classes = fusion.num_things_classes = CLASSES
    head.loss_cls.class_weight = [1.0] * CLASSES + [0.1]
    cfg.model.test_cfg.update(panoptic_on=True, instance_on=False, object_mask_thr=0)
    cfg.dump(config)
    (tmp_path / 'run').mkdir()
    checkpoint = tmp_path / 'run' / 'weights.pth'
    torch.manual_seed(0)
    torch.save(build_model(load_config(str(config))).state_dict(), checkpoint)
    photo = first_photo(demo_root / 'coco' / 'val2017')
    found = predicted(config, checkpoint, photo)['annotations']
    expected = load(config, checkpoint, 'cpu')(photo).pred_panoptic_seg.sem_seg[0].numpy()
    drawn = np.full_like(expected, CLASSES)
    for one in found:
        mask = run_lengths.decode(one['segmentation']) > 0
        x, y, width, height = map(int, one['bbox'])
        assert mask[y : y + height, x : x + width].sum() == mask.sum() == one['area']
        drawn[mask] = one['category_id'] - 1
    assert (drawn == expected % INSTANCE_OFFSET).all() and found
