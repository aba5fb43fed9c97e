"""Every config's model builds; one of each method trains a step and predicts."""

import math

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from shipped_configs import FOLLOWED, KINDS, parts
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from glmix_mm.profiling.flops import EmptyOnMeta

HEIGHT, WIDTH = 70, 100  # px, no multiples of 32


def head_parameters(method: str, channels: list[int]) -> int:
    """Count the weights and biases besides the backbone's, from the layers of the papers."""
    conv = lambda i, o, k=1: k * k * i * o + o  # noqa: E731
    conv_bn = lambda i, o, k=1: k * k * i * o + 2 * o  # noqa: E731
    fpn = sum(conv(c, 256) + conv(256, 256, 3) for c in channels)
    if method.endswith('maskrcnn'):
        rpn = conv(256, 256, 3) + conv(256, 3) + conv(256, 3 * 4)
        cascaded = method.startswith('cascade')
        hidden = 4 * conv_bn(256, 256, 3) if cascaded else conv(1024, 1024)
        box = conv(256 * 49, 1024) + hidden + conv(1024, 81) + conv(1024, 80 * 4)
        mask = 4 * conv(256, 256, 3) + conv(256, 256, 2) + conv(256, 80)
        return fpn + rpn + (3 if cascaded else 1) * (box + mask)
    if method == 'retinanet':
        fpn = sum(conv(c, 256) + conv(256, 256, 3) for c in channels[1:])
        extra = conv(channels[3], 256, 3) + conv(256, 256, 3)
        towers = 8 * conv(256, 256, 3) + conv(256, 9 * 80, 3) + conv(256, 9 * 4, 3)
        return fpn + extra + towers
    if method == 'semfpn':
        # One 3x3 to 128 for strides 4 and 8, two for 16, three for 32; then the classifier.
        towers = 4 * conv_bn(256, 128, 3) + 3 * conv_bn(128, 128, 3)
        return fpn + towers + conv(128, 150)
    pooled = 4 * conv_bn(channels[3], 512)
    lateral = sum(conv_bn(c, 512) for c in channels[:3])
    bottlenecks = conv_bn(channels[3] + 4 * 512, 512, 3) + conv_bn(4 * 512, 512, 3)
    smooth = 3 * conv_bn(512, 512, 3)
    auxiliary = conv_bn(channels[2], 256, 3) + conv(256, 150)
    return pooled + lateral + bottlenecks + smooth + conv(512, 150) + auxiliary


@pytest.mark.parametrize('name', [name for name in KINDS if name in FOLLOWED])
def test_builds_with_the_parameters_of_its_layers(load, name):
    model_cfg = load(name).model
    model_cfg.backbone.init_cfg = None
    with EmptyOnMeta():
        model = MODELS.build(model_cfg)
    method, channels = parts(name).method, parts(name).channels
    assert list(model.backbone.out_channels) == (
        channels[1:] if method == 'retinanet' else channels
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    backbone = sum(parameter.numel() for parameter in model.backbone.parameters())
    assert total - backbone == head_parameters(method, channels)


def images() -> list[Tensor]:
    """Return two images as a data loader gives them, (3, H, W), uint8."""
    generator = torch.Generator().manual_seed(0)
    size = (3, HEIGHT, WIDTH)
    return [torch.randint(0, 256, size, generator=generator, dtype=torch.uint8) for _ in range(2)]


def detection_batch() -> dict:
    """Return two images with boxes and masks of two objects each."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor([[8.0, 10.0, 40.0, 50.0], [30.0, 5.0, 95.0, 65.0]])
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    samples = []
    for _ in range(2):
        shape = (HEIGHT, WIDTH)
        sample = DetDataSample(
            metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes.clone(),
            labels=torch.tensor([0, 79]),
            masks=BitmapMasks(masks.numpy(), HEIGHT, WIDTH),
        )
        samples.append(sample)
    return dict(inputs=images(), data_samples=samples)


def segmentation_batch() -> dict:
    """Return two images with label maps: two classes and pixels to ignore."""
    from mmseg.structures import SegDataSample

    labels = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    labels[:, :, WIDTH // 2 :] = 149
    labels[:, -8:] = 255
    samples = []
    for _ in range(2):
        shape = (HEIGHT, WIDTH)
        sample = SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape))
        sample.gt_sem_seg = PixelData(data=labels.clone())
        samples.append(sample)
    return dict(inputs=images(), data_samples=samples)


def check_detections(result, masks: bool) -> None:
    found = result.pred_instances
    assert 0 < len(found) <= 100
    assert found.scores.min() > 0 and found.scores.max() <= 1
    assert set(found.labels.tolist()) <= set(range(80))
    left, top, right, bottom = found.bboxes.unbind(1)
    assert (left >= 0).all() and (left <= right).all() and (right <= WIDTH).all()
    assert (top >= 0).all() and (top <= bottom).all() and (bottom <= HEIGHT).all()
    if masks:
        assert found.masks.shape == (len(found), HEIGHT, WIDTH)


def check_segmentation(result, masks: bool) -> None:
    logits = result.seg_logits.data
    assert logits.shape == (150, HEIGHT, WIDTH)
    assert torch.equal(result.pred_sem_seg.data[0], logits.argmax(0))


# Losses of a freshly initialised head, known in closed form: every class is as likely as any
# other, but for RetinaNet, where each is 1 % likely. Segmentation averages over the pixels of the
# padded crop (128 px here, for speed), those that are ignored included.
CROP = 128
LABELLED = (HEIGHT - 8) * WIDTH / CROP**2
INITIAL_LOSSES = {
    'maskrcnn_glnet_4g_1x.py': {
        'loss_rpn_cls': math.log(2),
        'loss_cls': math.log(81),
    },
    'retinanet_glnet_4g_1x.py': {'loss_cls': -0.25 * 0.99**2 * math.log(0.01)},
    'semfpn_glnet_4g_80k.py': {'decode.loss_ce': LABELLED * math.log(150)},
    'upernet_glnet_4g_160k.py': {
        'decode.loss_ce': LABELLED * math.log(150),
        'aux.loss_ce': 0.4 * LABELLED * math.log(150),
    },
    'dilateformer/cascademaskrcnn_dilateformer_tiny_3x.py': {
        'loss_rpn_cls': math.log(2),
        's0.loss_cls': math.log(81),
        's1.loss_cls': 0.5 * math.log(81),
        's2.loss_cls': 0.25 * math.log(81),
    },
    'dilateformer/semfpn_dilateformer_tiny_80k.py': {'decode.loss_ce': LABELLED * math.log(150)},
    'fcvit/retinanet_fcvit_b12_1x.py': {'loss_cls': -0.25 * 0.99**2 * math.log(0.01)},
    'fcvit/semfpn_fcvit_b12_40k.py': {'decode.loss_ce': LABELLED * math.log(150)},
}


def check_gradients(model) -> None:
    """Check that every parameter is used: distributed training waits for each gradient."""
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad, key
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize('name', INITIAL_LOSSES)
def test_trains_a_step_and_predicts(nano, name):
    torch.manual_seed(0)
    cfg = nano(name)
    if parts(name).masks:
        cfg.model.test_cfg.rcnn.max_per_img = 10
        cfg.model.test_cfg.rcnn.score_thr = 0.0  # untrained, no object is likely
        stages = cfg.model.train_cfg.rcnn  # of a cascade, or the only one
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 64  # the heads are of full size
        cfg.model.test_cfg.rpn.max_per_img = 100
    elif parts(name).detects:
        cfg.model.test_cfg.score_thr = 0.0
    else:
        cfg.model.data_preprocessor.size = (CROP, CROP)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    detects = parts(name).detects
    make_batch = detection_batch if detects else segmentation_batch

    model.train()
    modes = {m.training for m in model.backbone.modules() if isinstance(m, _BatchNorm)}
    assert modes == {not detects}, 'batch norms: fixed in detection, trained in segmentation'
    losses = model(**model.data_preprocessor(make_batch(), training=True), mode='loss')
    total, log = model.parse_losses(losses)
    assert torch.isfinite(total)
    for key, value in INITIAL_LOSSES[name].items():
        assert float(log[key]) == pytest.approx(value, rel=0.1), key
    total.backward()
    check_gradients(model)

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(make_batch()), mode='predict')
    check = check_detections if detects else check_segmentation
    for result in results:
        check(result, masks=parts(name).masks)


@pytest.mark.parametrize(
    'name',
    [
        'maskrcnn_glnet_4g_1x.py',
        'dilateformer/cascademaskrcnn_dilateformer_tiny_3x.py',
        'fcvit/retinanet_fcvit_b12_1x.py',
    ],
)
def test_images_without_objects_give_every_gradient(nano, name):
    torch.manual_seed(0)
    cfg = nano(name)
    stages = cfg.model.train_cfg.get('rcnn', [])
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 16  # for speed
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = detection_batch()
    for sample in batch['data_samples']:
        sample.gt_instances = sample.gt_instances[torch.zeros(2, dtype=torch.bool)]
        assert len(sample.gt_instances.masks) == 0
    losses = model.train()(**model.data_preprocessor(batch, training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    check_gradients(model)


@pytest.mark.parametrize('accumulated', [False, True], ids=['whole batch', 'image by image'])
@pytest.mark.parametrize('name', ['semfpn_glnet_4g_80k.py', 'fcvit/semfpn_fcvit_b12_40k.py'])
def test_checkpointing_and_accumulation_change_no_gradient(nano, name, accumulated):
    grads = []
    for economical in (False, True):
        cfg = nano(name)
        cfg.model.data_preprocessor.size = (CROP, CROP)
        cfg.model.decode_head.dropout_ratio = 0.0
        cfg.model.backbone.update(with_cp=economical, drop_path_rate=0.0)
        torch.manual_seed(0)
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).double()
        model.init_weights()
        if accumulated:  # the statistics of a batch norm are those of the images at hand
            model.apply(lambda m: m.eval() if isinstance(m, _BatchNorm) else m)
        wrapper = OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=0.0),
            accumulative_counts=2 if accumulated and economical else 1,
        )
        wrapper.initialize_count_status(model, 0, 2)
        batch = model.data_preprocessor(segmentation_batch(), training=True)
        whole = [(batch['inputs'].double(), batch['data_samples'])]
        parts = [(whole[0][0][i : i + 1], whole[0][1][i : i + 1]) for i in range(2)]
        for inputs, samples in parts if accumulated and economical else whole:
            losses = model(inputs, samples, mode='loss')
            total, _ = model.parse_losses(losses)
            wrapper.backward(wrapper.scale_loss(total))
        grads.append({key: p.grad.clone() for key, p in model.named_parameters()})
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, rtol=1e-6, atol=1e-9, msg=key)
