"""Fixtures: tiny data sets and configs, so that a whole training run takes seconds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import train

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES, write_demo_dataset
from glmix_mm.models.build import build_model
from glmix_mm.models.glnet import ARCHS
from glmix_mm.training.train import main

CHANNELS = list(ARCHS['nano'].channels)
SIZE = 64  # px
COMMON = {
    'randomness.seed': 0,
    'default_hooks.logger.interval': 1,
    'model.backbone.arch': 'nano',
    'model.backbone.drop_path_rate': 0.0,
    **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.persistent_workers': False for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.dataset.serialize_data': False for split in ('train', 'val', 'test')},
}
DETECTOR = COMMON | {
    'model.neck.in_channels': CHANNELS,
    'model.neck.out_channels': 32,
    'model.rpn_head.in_channels': 32,
    'model.rpn_head.feat_channels': 32,
    'model.roi_head.bbox_roi_extractor.out_channels': 32,
    'model.roi_head.mask_roi_extractor.out_channels': 32,
    'model.roi_head.bbox_head.in_channels': 32,
    'model.roi_head.bbox_head.fc_out_channels': 32,
    'model.roi_head.bbox_head.num_classes': len(DEMO_CLASSES),
    'model.roi_head.mask_head.in_channels': 32,
    'model.roi_head.mask_head.conv_out_channels': 32,
    'model.roi_head.mask_head.num_convs': 1,
    'model.roi_head.mask_head.num_classes': len(DEMO_CLASSES),
    'model.train_cfg.rpn_proposal.max_per_img': 50,
    'model.train_cfg.rcnn.sampler.num': 32,
    'model.test_cfg.rpn.max_per_img': 50,
    'model.test_cfg.rcnn.max_per_img': 10,
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.pipeline.2.scale': (SIZE, SIZE),
    'val_dataloader.dataset.pipeline.1.scale': (SIZE, SIZE),
    'test_dataloader.dataset.pipeline.1.scale': (SIZE, SIZE),
    'train_cfg.max_epochs': 2,
    'train_cfg.val_interval': 2,
    'param_scheduler': [
        dict(type='MultiStepLR', begin=0, end=2, by_epoch=True, milestones=[1], gamma=0.1)
    ],
}
SEGMENTOR = COMMON | {
    'model.decode_head.in_channels': CHANNELS,
    'model.decode_head.channels': 16,
    'model.decode_head.num_classes': len(DEMO_SEG_CLASSES),
    'model.auxiliary_head.in_channels': CHANNELS[2],
    'model.auxiliary_head.channels': 16,
    'model.auxiliary_head.num_classes': len(DEMO_SEG_CLASSES),
    'model.data_preprocessor.size': (SIZE, SIZE),
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.pipeline.2.scale': (4 * SIZE, SIZE),
    'train_dataloader.dataset.pipeline.3.crop_size': (SIZE, SIZE),
    'val_dataloader.dataset.pipeline.1.scale': (4 * SIZE, SIZE),
    'test_dataloader.dataset.pipeline.1.scale': (4 * SIZE, SIZE),
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 2,
    'tta_pipeline': [
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug',
            transforms=[
                [dict(type='Resize', scale=(SIZE, SIZE)), dict(type='Resize', scale=(96, 96))],
                [dict(type='LoadAnnotations')],
                [dict(type='PackSegInputs')],
            ],
        ),
    ],
}

IMAGE_CLASSES = ('dark', 'light')
IMAGE_SIZE = 32  # px
IMAGES = 4  # of each class and split
CLASSIFIER = {
    'randomness.seed': 0,
    'data_preprocessor.num_classes': len(IMAGE_CLASSES),
    'model.head.num_classes': len(IMAGE_CLASSES),
    'train_cfg.max_epochs': 2,
    'param_scheduler.0.end': 1,
    'param_scheduler.1.begin': 1,
    'default_hooks.logger.interval': 1,
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.pipeline.1.scale': IMAGE_SIZE,
    'auto_scale_lr.base_batch_size': 4,
    'val_evaluator.topk': 1,
    'test_evaluator.topk': 1,
    **{
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val', 'test')
        for key, value in {
            'num_workers': 0,
            'persistent_workers': False,
            'dataset.metainfo': dict(classes=IMAGE_CLASSES),
        }.items()
    },
    **{
        f'{split}_dataloader.dataset.pipeline.{step}': value
        for split in ('val', 'test')
        for step, value in {'1.scale': IMAGE_SIZE, '2.crop_size': IMAGE_SIZE}.items()
    },
}


@pytest.fixture(scope='session')
def demo_root(tmp_path_factory):
    """Return the folder of a demo set of 8 training and 4 held-out images."""
    folder = tmp_path_factory.mktemp('demo') / 'set'
    return write_demo_dataset(folder, num_train=8, num_val=4, image_size=SIZE)


@pytest.fixture(scope='session')
def nano_detector(tmp_path_factory):
    """Return the path of a config of Mask R-CNN with GLNet-nano for the demo set."""
    for_demo = {
        f'{split}_dataloader.dataset.metainfo.classes': DEMO_CLASSES
        for split in ('train', 'val', 'test')
    }
    cfg = load_config('maskrcnn_glnet_4g_1x', DETECTOR | for_demo)
    return _dump(cfg, tmp_path_factory.mktemp('det') / 'nano_detector.py')


@pytest.fixture(scope='session')
def nano_segmentor(tmp_path_factory):
    """Return the path of a config of UperNet with GLNet-nano for the demo set."""
    own = {
        'type': 'BaseSegDataset',
        'reduce_zero_label': True,
        'metainfo.classes': DEMO_SEG_CLASSES,
    }
    for_demo = {
        f'{split}_dataloader.dataset.{key}': value
        for split in ('train', 'val', 'test')
        for key, value in own.items()
    }
    cfg = load_config('upernet_glnet_4g_160k', SEGMENTOR | for_demo)
    return _dump(cfg, tmp_path_factory.mktemp('seg') / 'nano_segmentor.py')


@pytest.fixture(scope='session')
def image_root(tmp_path_factory):
    """Return a folder that holds a set of dark and light noise as imagenet/."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp('images')
    for split in ('train', 'val'):
        for label, name in enumerate(IMAGE_CLASSES):
            folder = root / 'imagenet' / split / name
            folder.mkdir(parents=True)
            for number in range(IMAGES):
                pixels = rng.integers(0, 128, (40, 45, 3), dtype=np.uint8) + 128 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{name}{number}.png')
    return root


@pytest.fixture(scope='session')
def nano_classifier(tmp_path_factory):
    """Return the path of GLNet's recipe for GLNet-nano and two classes."""
    nano = {
        'model.backbone.arch': 'nano',
        'model.neck.in_channels': 192,
        'model.head.in_channels': 192,
        'custom_hooks.0.momentum': 0.25,
    }
    path = tmp_path_factory.mktemp('cls') / 'nano_classifier.py'
    return _dump(load_config('imagenet/glnet_4g', CLASSIFIER | nano), path)


@pytest.fixture(scope='session')
def token_label_classifier(tmp_path_factory):
    """Return the path of the token-labeling recipe for GLNet-nano and two classes."""
    crop, transforms = 'train_dataloader.dataset.pipeline.1.scale', 'pipeline.4.transforms'
    options = {key: value for key, value in CLASSIFIER.items() if key != crop}
    nano = {
        'model.backbone.arch': 'nano',
        'model.neck.in_channels': 192,
        'model.head.in_channels': 192,
        'param_scheduler.1.end': 2,
        **{f'train_dataloader.dataset.{transforms}.{i}.0.scale': 2 * IMAGE_SIZE for i in (0, 1)},
    }
    path = tmp_path_factory.mktemp('cls') / 'token_label_classifier.py'
    return _dump(load_config('imagenet/glnet_4g_tklb', options | nano), path)


@pytest.fixture(scope='session')
def token_label_root(image_root, tmp_path_factory):
    """Return a folder that holds the same images as imagenet/ and token labels of all of train."""
    root = tmp_path_factory.mktemp('labelled') / 'imagenet'
    root.mkdir()
    for split in ('train', 'val'):
        (root / split).symlink_to(image_root / 'imagenet' / split)
    for path in (root / 'train').glob('*/*.png'):
        labels = torch.zeros(2, 2, 6, 6)
        labels[0, 0] = 8
        labels[1, 0] = IMAGE_CLASSES.index(path.parent.name)
        labels[1, 1] = 1 - labels[1, 0]
        target = root / 'label_top5_train_nfnet' / path.parent.name / f'{path.stem}.pt'
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(labels.half(), target)
    return root


@pytest.fixture(scope='session')
def fcvit_classifier(tmp_path_factory):
    """Return the path of FCViT-tiny's config for two classes."""
    path = tmp_path_factory.mktemp('cls') / 'fcvit_classifier.py'
    crop = 'train_dataloader.dataset.pipeline.1'
    options = {key: value for key, value in CLASSIFIER.items() if not key.startswith(crop)}
    sizes = {f'{crop}.transforms.{choice}.0.scale': IMAGE_SIZE for choice in (0, 1)}
    return _dump(load_config('imagenet/fcvit_tiny', options | sizes), path)


@pytest.fixture(scope='session')
def classifier_run(nano_classifier, image_root, tmp_path_factory):
    """Return the folder of a finished run of two epochs of the classifier."""
    work_dir = tmp_path_factory.mktemp('classifier_run')
    arguments = [nano_classifier, '--data-root', str(image_root), '--work-dir', str(work_dir)]
    assert run(main, arguments) == 0
    return work_dir


@pytest.fixture(scope='session')
def trained(nano_detector, demo_root, tmp_path_factory):
    """Return the folder of a finished run of two epochs of the detector."""
    work_dir = tmp_path_factory.mktemp('trained')
    assert train(nano_detector, demo_root, work_dir) == 0
    return work_dir


@pytest.fixture
def copied(trained, tmp_path):
    """Return a copy of that folder to break things in."""
    return Path(shutil.copytree(trained, tmp_path / 'copied'))


@pytest.fixture(scope='session')
def detector_weights(nano_detector, tmp_path_factory):
    """Return the path of a checkpoint of the detector that was never trained."""
    return _save_weights(nano_detector, tmp_path_factory.mktemp('weights') / 'detector.pth')


@pytest.fixture(scope='session')
def segmentor_weights(nano_segmentor, tmp_path_factory):
    """Return the path of a checkpoint of the segmentor that was never trained."""
    return _save_weights(nano_segmentor, tmp_path_factory.mktemp('weights') / 'segmentor.pth')


def _save_weights(config, path):
    torch.manual_seed(0)
    cfg = load_config(config)
    classes = cfg.test_dataloader.dataset.metainfo.classes
    meta = dict(cfg=cfg.pretty_text, epoch=1, iter=2, dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=build_model(cfg).state_dict(), meta=meta), path)
    return str(path)


def _dump(cfg, path):
    cfg.dump(path)
    return str(path)
