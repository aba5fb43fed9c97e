"""The images and the learning rates that the ImageNet recipes come to."""

import math

import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from glmix_mm.config.load_config import load_config

EPOCH = 5  # iterations


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def test_the_whole_pipeline_gives_images_of_224(image_root):
    pipeline = load_config('imagenet/glnet_4g').train_dataloader.dataset.pipeline
    (path, *_) = sorted((image_root / 'imagenet' / 'train').glob('*/*.png'))
    packed = Compose(pipeline)(dict(img_path=path, gt_label=1))
    assert packed['inputs'].shape == (3, 224, 224) and packed['inputs'].dtype == torch.uint8
    assert packed['data_samples'].gt_label.tolist() == [1]


def rates(cfg, epochs):
    """Return the learning rate of each iteration, stepped as mmengine's hook steps it."""
    options = {key: cfg.optim_wrapper.optimizer[key] for key in ('lr', 'weight_decay')}
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], **options)
    schedulers = []
    for settings in cfg.param_scheduler:
        settings = dict(settings, optimizer=optimizer, epoch_length=EPOCH)
        settings.setdefault('end', cfg.train_cfg.max_epochs)  # as mmengine's Runner does
        schedulers.append(PARAM_SCHEDULERS.build(settings))
    found = []
    for i in range(1, epochs * EPOCH + 1):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or i % EPOCH == 0:
                scheduler.step()
    return found


@pytest.mark.parametrize(
    ('name', 'start', 'epochs'), [('glnet_4g', 2e-6, 300), ('glnet_4g_tklb', 1e-6, 310)]
)
def test_warmup_and_cosine(name, start, epochs):
    base, warmup, end = 2e-3, 5, 300
    found = rates(load_config(f'imagenet/{name}'), epochs)
    rise, fall = warmup * EPOCH, (end - warmup) * EPOCH
    for i, rate in enumerate(found):
        if i < rise:
            expected = start + (base - start) * i / (rise - 1)
        else:
            # The step that would reach the end of the cosine is not made.
            steps = min(i - rise, fall - 1)
            expected = 1e-5 + (base - 1e-5) * (1 + math.cos(math.pi * steps / fall)) / 2
        assert rate == pytest.approx(expected, rel=1e-6), i
