"""The parts of the ImageNet recipes that libraries bring, each at work as a config sets it."""

import copy
import math

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    MODELS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    DefaultScope,
)
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from glmix_mm.config.load_config import load_config

BATCH = 4
SIZE = 32  # px
EPOCH = 5  # iterations


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(scope='module')
def cfg():
    """Return GLNet's recipe with GLNet-nano."""
    nano = {
        'model.backbone.arch': 'nano',
        'model.backbone.drop_path_rate': 0.0,
        'model.neck.in_channels': 192,
        'model.head.in_channels': 192,
        'model.head.num_classes': BATCH,
        'data_preprocessor.num_classes': BATCH,
    }
    return load_config('imagenet/glnet_4g', nano)


def build(cfg):
    torch.manual_seed(0)
    settings = dict(cfg.model, data_preprocessor=dict(cfg.data_preprocessor))
    return MODELS.build(copy.deepcopy(settings))


def batch(seed=0):
    """Return images of noise, each of a class of its own, as a data loader gives them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(i) for i in range(BATCH)])


def test_mixup_and_cutmix(cfg):
    preprocessor = build(cfg).data_preprocessor
    plain = preprocessor(batch())['inputs']
    np.random.seed(0)
    torch.manual_seed(0)
    kinds = set()
    for _ in range(12):
        mixed = preprocessor(batch(), training=True)
        for n, (image, sample) in enumerate(
            zip(mixed['inputs'], mixed['data_samples'], strict=True)
        ):
            assert sample.gt_score.sum().item() == pytest.approx(1, abs=1e-6)
            own = sample.gt_score[n]
            rest = sample.gt_score.clone()
            rest[n] = 0
            partner = plain[rest.argmax()]
            if torch.allclose(image, own * plain[n] + (1 - own) * partner, atol=1e-4):
                kinds.add('mixup')
                continue
            kept = (image == plain[n]).all(0)
            assert ((image == partner).all(0) | kept).all()
            assert kept.float().mean().item() == pytest.approx(own.item(), abs=0.01)
            kinds.add('cutmix')
    assert kinds == {'mixup', 'cutmix'}


def test_rand_augment_and_random_erasing(cfg):
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    augment, erase = (TRANSFORMS.build(steps[kind]) for kind in ('RandAugment', 'RandomErasing'))
    assert {type(step).__module__.split('.')[0] for step in (augment, erase)} == {'mmpretrain'}
    rows = np.linspace(0, 200, 64)[:, None] + np.linspace(0, 50, 64)
    image = rows[..., None].repeat(3, 2).astype(np.uint8)
    np.random.seed(0)
    augmented = [augment(dict(img=image))['img'] for _ in range(60)]
    changed = np.mean([not np.array_equal(other, image) for other in augmented])
    # Two operations, each done half of the time, some of which change nothing here.
    assert 0.5 < changed < 0.8
    shares = [(erase(dict(img=image.copy()))['img'] != image).any(2).mean() for _ in range(400)]
    erased = [share for share in shares if share]
    assert len(erased) / len(shares) == pytest.approx(0.25, abs=0.07)
    assert min(erased) > 0.015 and max(erased) < 0.36  # sides are rounded to whole pixels
    assert np.std(erased) > 0.05


def test_the_whole_pipeline_gives_images_of_224(cfg, image_root):
    (path, *_) = sorted((image_root / 'imagenet' / 'train').glob('*/*.png'))
    packed = Compose(cfg.train_dataloader.dataset.pipeline)(dict(img_path=path, gt_label=1))
    assert packed['inputs'].shape == (3, 224, 224) and packed['inputs'].dtype == torch.uint8
    assert packed['data_samples'].gt_label.tolist() == [1]


def test_repeated_augmentation(cfg):
    settings = dict(cfg.train_dataloader.sampler, seed=0)
    sampler = DATA_SAMPLERS.build(settings, default_args=dict(dataset=range(300)))
    indices = list(sampler)
    assert len(indices) == len(sampler) == 300, 'an epoch is as long as without'
    assert indices == [i for i in indices[::3] for _ in range(3)] and len(set(indices)) == 100


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


@pytest.mark.parametrize(('scale', 'expected'), [(100.0, 5.0), (1.0, 1.0)])
def test_gradients_are_clipped(cfg, scale, expected):
    model = nn.Linear(4, 1, bias=False)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, paramwise_cfg=None))
    wrapper.backward(scale * model(torch.tensor([0.5, 0.5, 0.5, 0.5])).sum())
    wrapper.step()
    assert model.weight.grad.norm().item() == pytest.approx(expected, rel=1e-4)


def sgd(cfg, **changes):
    return dict(cfg.optim_wrapper, optimizer=dict(type='SGD', lr=0.5), paramwise_cfg=None) | changes


def step(model, wrapper, data, parts):
    """Take one step on a batch, cut into parts; batch norms keep their statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    wrapper.initialize_count_status(model, 0, parts)
    images, samples = (data[key] for key in ('inputs', 'data_samples'))
    for start in range(0, BATCH, BATCH // parts):
        place = slice(start, start + BATCH // parts)
        with wrapper.optim_context(model):
            loss = model.loss(images[place], samples[place])['loss']
        wrapper.update_params(loss)


def test_accumulated_gradients_are_those_of_the_large_batch(cfg):
    states = []
    for parts in (1, 2, 4):
        model = build(cfg).double()
        data = model.data_preprocessor(batch())
        data['inputs'] = data['inputs'].double()
        wrapper = build_optim_wrapper(model, sgd(cfg, accumulative_counts=parts))
        before = copy.deepcopy(model.state_dict())
        step(model, wrapper, data, parts)
        states.append(model.state_dict())
    whole = states[0]
    moved = [key for key in whole if not torch.equal(whole[key], before[key])]
    assert len(moved) == len(dict(model.named_parameters()))
    for other in states[1:]:
        for key in moved:
            error = (other[key] - whole[key]).abs().max()
            assert error < 1e-9 * (whole[key] - before[key]).abs().max() + 1e-15, key


def test_bfloat16(cfg):
    losses, dtypes, models = [], [], []
    for dtype in ('float32', 'bfloat16'):
        model = build(cfg)
        model.head.fc.register_forward_hook(lambda *args: dtypes.append(args[-1].dtype))
        data = model.data_preprocessor(batch())
        wrapper = build_optim_wrapper(model, sgd(cfg, dtype=dtype))
        with wrapper.optim_context(model):
            losses.append(model.loss(**data)['loss'].item())
        step(model, wrapper, data, 1)
        models.append(model)
    assert set(dtypes[:2]) == {torch.float32} and set(dtypes[2:]) == {torch.bfloat16}
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] != losses[1]
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, one, rtol=0, atol=0.02 * max(one.abs().max().item(), 1))
