"""Every tool on detectors and a segmentor of mmdet's and mmseg's own configs, with GLNet-nano."""

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from PIL import Image
from pycocotools import mask as run_lengths

from glmix_mm import load
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES
from glmix_mm.inference import predict, test
from glmix_mm.models.build import build_model
from glmix_mm.models.glnet import ARCHS
from glmix_mm.training import train

pytestmark = pytest.mark.slow

CHANNELS = list(ARCHS['nano'].channels)
SIZE, CLASSES = 64, len(DEMO_CLASSES)
# Each has its own schedule, data and loaders, all for far more than this.
COMMON = """
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2))
log_processor = dict(by_epoch=False)
custom_imports = dict(imports=['glmix_mm'])
custom_hooks = []
param_scheduler = []
randomness = dict(seed=0)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=2)
loader = dict(num_workers=0, persistent_workers=False)
sampler = dict(type='InfiniteSampler', shuffle=True)
"""
DETECTION = (
    COMMON
    + f"""
metainfo = dict(classes={DEMO_CLASSES})
load, pack = dict(type='LoadImageFromFile'), dict(type='PackDetInputs')
resize = dict(type='Resize', scale=({SIZE}, {SIZE}), keep_ratio=True)
with_mask = '{{name}}'.startswith(('mask', 'rtmdet/rtmdet-ins'))
boxes = dict(type='LoadAnnotations', with_bbox=True, with_mask=with_mask)
train_dataloader = dict(**loader, batch_size=2, sampler=sampler, batch_sampler=None,
    dataset=dict(metainfo=metainfo, pipeline=[load, boxes, resize, pack]))
val_dataloader = dict(**loader, batch_size=2,
    dataset=dict(metainfo=metainfo, pipeline=[load, resize, boxes, dict(type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
"""
)
GLNET = "dict(_delete_=True, type='GLNet', arch='nano', out_indices={indices})"
ALL, LAST = GLNET.format(indices=(0, 1, 2, 3)), GLNET.format(indices=(1, 2, 3))
SMALL_LAYERS = 'dict(num_layers=1, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=32)))'
DETR = f"""
model = dict(
    num_queries=20, backbone={LAST}, neck=dict(in_channels={CHANNELS[1:]}),
    encoder={SMALL_LAYERS}, decoder={SMALL_LAYERS},
    bbox_head=dict(num_classes={CLASSES}), test_cfg=dict(max_per_img=20))
"""
FPN = f"""
model = dict(
    backbone={ALL}, neck=dict(in_channels={CHANNELS}, out_channels=64),
    bbox_head=dict(num_classes={CLASSES}, in_channels=64, feat_channels=64, stacked_convs=1),
    test_cfg=dict(score_thr=0, max_per_img=20))
"""
MASK2FORMER = f"""
fixed = dict(type='BatchFixedSizePad', size=({SIZE}, {SIZE}), img_pad_value=0, pad_mask=True,
    mask_pad_value=0, pad_seg=False)
model = dict(
    data_preprocessor=dict(batch_augments=[fixed]), backbone={ALL},
    panoptic_head=dict(
        in_channels={CHANNELS}, num_things_classes={CLASSES}, num_queries=10,
        pixel_decoder=dict(encoder=dict(num_layers=1)), transformer_decoder=dict(num_layers=1),
        loss_cls=dict(class_weight=[1.0] * {CLASSES} + [0.1])),
    panoptic_fusion_head=dict(num_things_classes={CLASSES}),
    train_cfg=dict(num_points=256), test_cfg=dict(max_per_image=10))
"""
RTMDET = f"""
model = dict(
    backbone={LAST}, neck=dict(in_channels={CHANNELS[1:]}, out_channels=32, num_csp_blocks=1),
    bbox_head=dict(num_classes={CLASSES}, in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0, max_per_img=20))
"""
SEGFORMER = (
    COMMON
    + f"""
load, labels, pack = (dict(type=name) for name in
    ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs'))
own = dict(type='BaseSegDataset', metainfo=dict(classes={DEMO_SEG_CLASSES}), reduce_zero_label=True)
crop = dict(type='RandomCrop', crop_size=({SIZE}, {SIZE}))
train_dataloader = dict(**loader, batch_size=2,
    dataset=dict(**own, pipeline=[load, labels, crop, pack]))
val_dataloader = dict(**loader, batch_size=2, dataset=dict(**own, pipeline=[load, labels, pack]))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=({SIZE}, {SIZE})), backbone={ALL},
    decode_head=dict(in_channels={CHANNELS}, channels=32, num_classes={len(DEMO_SEG_CLASSES)}))
"""
)
TWO_LAYERS = SMALL_LAYERS.replace('num_layers=1', 'num_layers=2')
DDQ = DETR.replace(f'decoder={SMALL_LAYERS}', f'decoder={TWO_LAYERS}')
DETECTORS = {
    'ddq/ddq-detr-4scale_r50_8xb2-12e_coco': DDQ,
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco': RTMDET,
    'dino/dino-4scale_r50_8xb2-12e_coco': DETR,
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco': DETR,
    'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco': DETR,
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco': MASK2FORMER,
    'rtmdet/rtmdet_tiny_8xb32-300e_coco': RTMDET,
    'atss/atss_r50_fpn_1x_coco': FPN,
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco': FPN,
}


def call(tool, *arguments):
    assert run(tool.main, [*map(str, arguments)]) == 0


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector(name, demo_root, tmp_path):
    config = tmp_path / 'config.py'
    settings = DETECTION.replace('{name}', name) + DETECTORS[name]
    config.write_text(f"_base_ = 'mmdet::{name}.py'\n{settings}")
    data = ('--data-root', demo_root)
    call(train, config, *data, '--work-dir', tmp_path / 'run')
    checkpoint = tmp_path / 'run' / 'iter_2.pth'
    call(train, config, *data, '--work-dir', tmp_path / 'run', '--dry-run')
    out = tmp_path / 'out.json'
    call(test, config, checkpoint, *data, '--work-dir', tmp_path / 'test', '--out', out)
    (config,) = (tmp_path / 'test').glob('*/config.py')  # which knows where the data set is
    photo = sorted((demo_root / 'coco' / 'val2017').iterdir())[0]
    options = ('--out', tmp_path / 'found', '--device', 'cpu', '--score-thr', 0)
    call(predict, config, checkpoint, photo, *options)
    found = json.loads((tmp_path / 'found' / 'predictions.json').read_text())
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


def test_a_panoptic_map(demo_root, tmp_path):
    """The segments are told as objects; together they are the map."""
    name = 'mask2former/mask2former_r50_8xb2-lsj-50e_coco'
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    maps_alone = 'test_cfg=dict(panoptic_on=True, instance_on=False, object_mask_thr=0, '
    settings = DETECTION.replace('{name}', name) + MASK2FORMER.replace('test_cfg=dict(', maps_alone)
    config.write_text(f"_base_ = 'mmdet::{name}.py'\n{settings}")
    torch.manual_seed(0)
    torch.save(build_model(load_config(str(config))).state_dict(), checkpoint)
    photo = sorted((demo_root / 'coco' / 'val2017').iterdir())[0]
    call(predict, config, checkpoint, photo, '--out', tmp_path / 'out', '--device', 'cpu')
    found = json.loads((tmp_path / 'out' / 'predictions.json').read_text())['annotations']
    expected = load(config, checkpoint, 'cpu')(photo).pred_panoptic_seg.sem_seg[0].numpy()
    drawn = np.full_like(expected, CLASSES)
    for one in found:
        mask = run_lengths.decode(one['segmentation']) > 0
        x, y, width, height = map(int, one['bbox'])
        assert mask[y : y + height, x : x + width].sum() == mask.sum() == one['area']
        drawn[mask] = one['category_id'] - 1
    assert (drawn == expected % INSTANCE_OFFSET).all() and found


def test_a_segmentor(demo_root, tmp_path):
    config = tmp_path / 'config.py'
    name = 'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512'
    config.write_text(f"_base_ = 'mmseg::{name}.py'\n{SEGFORMER}")
    data = ('--data-root', demo_root)
    call(train, config, *data, '--work-dir', tmp_path / 'run', '--from-scratch')
    checkpoint = tmp_path / 'run' / 'iter_2.pth'
    call(train, config, *data, '--work-dir', tmp_path / 'run', '--dry-run')
    out = tmp_path / 'out'
    call(test, config, checkpoint, *data, '--work-dir', tmp_path / 'test', '--out', out)
    folder = demo_root / 'ade' / 'ADEChallengeData2016' / 'images' / 'validation'
    photo = sorted(folder.iterdir())[0]
    call(predict, config, checkpoint, photo, '--out', tmp_path / 'found', '--device', 'cpu')
    found = np.asarray(Image.open(tmp_path / 'found' / 'labels' / f'{photo.stem}.png'))
    expected = load(config, checkpoint, 'cpu')(photo).pred_sem_seg.data[0].numpy()
    assert (found == expected).all()
    # Of a set that ignores label 0, the classes count from 1 in the files that are handed in.
    assert (np.asarray(Image.open(out / f'{photo.stem}.png')) == expected + 1).all()
