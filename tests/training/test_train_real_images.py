"""The main job on real images: train at a reduced size, save, go on from there, score.

COCO's images with crowd regions, and those without objects, are among them.
"""

import json
import math
import os
from pathlib import Path

import pytest

from glmix_mm.cli import run
from glmix_mm.inference import test as testing
from glmix_mm.training import train as training

ROOT = os.environ.get('GLMIX_REAL_DATA')
CONFIGS = Path(__file__).parents[2] / 'configs'
LOADERS = [
    f'{split}_dataloader.{option}'
    for split in ('train', 'val', 'test')
    for option in ('num_workers=0', 'persistent_workers=False')
]
OTHERS = [  # a constant learning rate, no validation while training
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.save_best=None',
    'randomness.seed=0',
    'param_scheduler=None',
    'train_cfg.val_begin=99',
]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not ROOT, reason='GLMIX_REAL_DATA names no folder'),
]


def call(tool, config, work_dir, options, *arguments):
    arguments = [*arguments, '--data-root', ROOT, '--work-dir', work_dir]
    command = [CONFIGS / config, *arguments, '--cfg-options', *LOADERS, *OTHERS, *options]
    assert run(tool.main, [str(argument) for argument in command]) == 0


def read_losses(work_dir):
    """Return the losses of the folder's newest run, by iteration."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    losses = {line['step']: line['loss'] for line in lines if 'loss' in line}
    assert all(math.isfinite(loss) for loss in losses.values())
    return losses


def mean(values):
    return sum(values) / len(values)


def read_scores(work_dir):
    return json.loads(max(work_dir.glob('*/2*.json')).read_text())


@pytest.mark.parametrize(
    'config',
    [
        'maskrcnn_glnet_4g_3x.py',
        'dilateformer/maskrcnn_dilateformer_tiny_3x.py',
        'fcvit/maskrcnn_fcvit_b12_1x.py',
    ],
)
def test_mask_rcnn_on_coco(config, tmp_path):
    folder = Path(ROOT) / 'coco' / 'annotations'
    truth = {
        split: json.loads((folder / f'instances_{split}2017.json').read_text())
        for split in ('train', 'val')
    }
    images = [image['id'] for image in truth['train']['images']]
    boxes = truth['train']['annotations']
    crowded = {box['image_id'] for box in boxes if box['iscrowd']}
    empty = set(images) - {box['image_id'] for box in boxes}
    chosen = sorted(crowded)[:2] + sorted(empty)[:1] + images[:1]
    assert len(chosen) == 4
    sizes = 'scale=(320,192)' if '1x' in config else 'scales=[(320,192),(320,224)]'
    indices = ','.join(str(images.index(image)) for image in chosen)
    options = [
        'train_dataloader.dataset.filter_cfg.filter_empty_gt=False',
        f'train_dataloader.dataset.indices=[{indices}]',
        f'train_dataloader.dataset.pipeline.2.{sizes}',
        'train_dataloader.batch_size=2',
        'val_dataloader.dataset.pipeline.1.scale=(320,192)',
        'test_dataloader.dataset.pipeline.1.scale=(320,192)',
        'model.train_cfg.rcnn.sampler.num=64',
        'model.train_cfg.rpn_proposal.max_per_img=200',
        'model.test_cfg.rpn.max_per_img=200',
        'default_hooks.checkpoint.interval=4',
    ]
    work_dir = tmp_path / 'coco'
    call(training, config, work_dir, [*options, 'train_cfg.max_epochs=4'], '--from-scratch')
    losses = read_losses(work_dir)
    assert list(losses) == list(range(1, 9))
    losses = list(losses.values())
    assert mean(losses[-3:]) < 0.7 * mean(losses[:3])

    call(
        training,
        config,
        work_dir,
        [*options, 'train_cfg.max_epochs=5'],
        '--from-scratch',
        '--resume',
    )
    resumed = read_losses(work_dir)
    assert list(resumed) == [9, 10]
    assert mean(resumed.values()) < mean(losses[:3])

    checkpoint = work_dir / 'epoch_5.pth'
    call(testing, config, tmp_path / 'test', options, checkpoint)
    scores = read_scores(tmp_path / 'test')
    assert 0 <= scores['coco/bbox_mAP'] <= 1
    assert 0 <= scores['coco/segm_mAP'] <= 1
    # The held-out images have both kinds as well.
    boxes = truth['val']['annotations']
    assert any(box['iscrowd'] for box in boxes)
    assert len(truth['val']['images']) > len({box['image_id'] for box in boxes})


@pytest.mark.parametrize(
    'config',
    [
        'upernet_glnet_4g_160k.py',
        'dilateformer/upernet_dilateformer_tiny_160k.py',
        'fcvit/semfpn_fcvit_b12_40k.py',
    ],
)
def test_segmentation_on_ade20k(config, tmp_path):
    options = [
        'model.data_preprocessor.size=(128,128)',
        'train_dataloader.dataset.pipeline.2.scale=(512,128)',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.pipeline.2.ratio_range=(1.0,1.0)',
        'optim_wrapper.optimizer.lr=1e-3',
        'train_dataloader.dataset.pipeline.3.crop_size=(128,128)',
        'val_dataloader.dataset.pipeline.1.scale=(512,128)',
        'test_dataloader.dataset.pipeline.1.scale=(512,128)',
        'default_hooks.checkpoint.interval=6',
    ]
    work_dir = tmp_path / 'ade'
    call(training, config, work_dir, [*options, 'train_cfg.max_iters=6'], '--from-scratch')
    losses = list(read_losses(work_dir).values())
    assert len(losses) == 6
    assert mean(losses[-3:]) < 0.9 * mean(losses[:3])
    call(
        training,
        config,
        work_dir,
        [*options, 'train_cfg.max_iters=7'],
        '--from-scratch',
        '--resume',
    )
    assert list(read_losses(work_dir)) == [7]
    call(testing, config, tmp_path / 'test', options, work_dir / 'iter_7.pth')
    scores = read_scores(tmp_path / 'test')
    assert 0 <= scores['mIoU'] <= 100
