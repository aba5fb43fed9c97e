"""mmdet's and mmseg's own models against published figures.

Figures (parameters in M, multiply-adds in G) are those of the READMEs of mmdet, Swin, ConvNeXt and
CSWin: detectors at 800 x 1280 with 1000 proposals and 100 masks, segmentors at 512 x 2048.
"""

import pytest
from mmengine.config import Config

from glmix_mm.errors import UserError
from glmix_mm.profiling import build, count

pytestmark = pytest.mark.slow

RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
MASK_RCNN = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
MASK_RCNN_SWIN = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
MASK_RCNN_CONVNEXT = 'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
# The box heads of the published Cascade Mask R-CNNs: 4 convolutions and 1 linear layer.
CASCADE = (
    'mmdet::convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
)
UPERNET = 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py'
UPERNET_SWIN = 'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
SEMFPN = 'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'


def load(name):
    for package in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(package)
    return Config.fromstring(f'_base_ = {name!r}', '.py')


def check(result, parameters, multiply_adds):
    assert result.not_counted == () and result.notice == ''
    assert result.model.multiply_adds / 1e9 == pytest.approx(multiply_adds, rel=0.02)
    assert result.model.parameters / 1e6 == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize(
    ('name', 'parameters', 'multiply_adds'),
    [
        (RETINANET, 37.7, 239),
        ('mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py', 38.5, 248),
        (MASK_RCNN, 44.2, 260),
        (MASK_RCNN_SWIN, 47.8, 264),
        (MASK_RCNN_SWIN, 47.8, 267),
        (MASK_RCNN_CONVNEXT, 48.1, 262),
        (CASCADE, 86, 741),
    ],
)
def test_detectors(name, parameters, multiply_adds):
    check(count(build(load(name))), parameters, multiply_adds)


@pytest.mark.parametrize(
    ('backbone_of', 'parameters', 'multiply_adds'),
    [(MASK_RCNN, 82, 739), (MASK_RCNN_SWIN, 86, 745)],
)
def test_cascades(backbone_of, parameters, multiply_adds):
    config, other = load(CASCADE), load(backbone_of)
    config.model.backbone, config.model.neck = other.model.backbone, other.model.neck
    result = count(build(config))
    check(result, parameters, multiply_adds)
    # Three stages, each with all proposals and masks.
    parts = {part.name: part.multiply_adds for part in result.model.parts}
    box = 1000 * (4 * 7 * 7 * 9 * 256 * 256 + 7 * 7 * 256 * 1024 + 1024 * (81 + 320))
    mask = 100 * (4 * 14 * 14 * 9 * 256 * 256 + 28 * 28 * 256 * 256 + 28 * 28 * 256 * 80)
    assert parts['roi_head.bbox_head'] == 3 * box
    assert parts['roi_head.mask_head'] == 3 * mask


@pytest.mark.parametrize(
    ('name', 'parameters', 'multiply_adds'),
    [(UPERNET, 67, 953), (UPERNET_SWIN, 59.9, 945), (SEMFPN, 28.5, 183)],
)
def test_segmentors(name, parameters, multiply_adds):
    check(count(build(load(name)), (512, 2048)), parameters, multiply_adds)


def test_classifier():
    result = count(build(load('mmpretrain::resnet/resnet50_8xb32_in1k.py')), (224, 224))
    check(result, 25.6, 4.1)  # He et al.'s 3.8 G is of the variant with stride in the 1 x 1
    assert [part.name for part in result.model.parts] == ['backbone', 'head']


def test_attention_of_swin():
    """Two products in windows of 7 x 7 px, over maps that are padded to whole windows."""
    backbone = build(load(MASK_RCNN_SWIN)).backbone
    result = count(backbone, (800, 1280)).model
    windows = [(203, 322), (105, 161), (56, 84), (28, 42)]  # px, of strides 4 to 32
    channels, depths = (96, 192, 384, 768), (2, 2, 6, 2)
    expected = sum(
        depth * 2 * height * width * 49 * dim
        for (height, width), dim, depth in zip(windows, channels, depths, strict=True)
    )
    assert result.attention == expected


@pytest.mark.parametrize('name', [RETINANET, SEMFPN])
def test_convolutions_have_no_attention(name):
    assert count(build(load(name)), (256, 256)).model.attention == 0


def test_published_split_of_retinanet():
    parts = count(build(load(RETINANET))).model.parts
    published = {'backbone': 84, 'neck': 17, 'bbox_head': 138}
    assert [part.name for part in parts] == list(published)
    for part in parts:
        assert part.multiply_adds / 1e9 == pytest.approx(published[part.name], rel=0.02)


def test_parts_of_a_detector_add_up():
    model = count(build(load(MASK_RCNN))).model
    names = [part.name for part in model.parts]
    assert names == ['backbone', 'neck', 'rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head']
    for whole in (model, model.parts[0]):
        assert whole.multiply_adds == sum(part.multiply_adds for part in whole.parts)
        assert whole.parameters == sum(part.parameters for part in whole.parts)
    stages = model.parts[0].parts
    assert [part.name for part in stages] == ['layer1', 'layer2', 'layer3', 'layer4', 'other']
    # The stem, all that is outside of the stages: 7 x 7, 3 to 64, stride 2.
    assert stages[-1].multiply_adds == 400 * 640 * 49 * 3 * 64


def test_auxiliary_head_is_not_run():
    result = count(build(load(UPERNET)), (64, 64))
    auxiliary = result.model.parts[-1]
    # A 3 x 3 convolution from 1024 to 256 channels, its norm, and the classes.
    assert (auxiliary.name, auxiliary.multiply_adds) == ('auxiliary_head', None)
    assert auxiliary.parameters == 9 * 1024 * 256 + 2 * 256 + 256 * 150 + 150
    assert result.model.multiply_adds == sum(p.multiply_adds for p in result.model.parts[:-1])


def test_shared_head_of_a_c4_detector():
    model = count(build(load('mmdet::mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py'))).model
    parts = {part.name: part.multiply_adds for part in model.parts}
    # ResNet's last stage on 14 x 14 maps, halved in its first block, for 1000 boxes and 100 masks.
    n = 7 * 7
    first = 1024 * 512 + 9 * 512 * 512 + 512 * 2048 + 1024 * 2048
    others = 2 * (2048 * 512 + 9 * 512 * 512 + 512 * 2048)
    assert parts['roi_head.shared_head'] == 1100 * n * (first + others)


def test_parts_that_are_not_run_are_named():
    result = count(build(load('mmdet::htc/htc_r50_fpn_1x_coco.py')), (128, 128))
    assert result.not_counted == ('roi_head.semantic_head (FusedSemanticHead), which was not run',)


def test_detection_transformer():
    result = count(build(load('mmdet::detr/detr_r50_8xb2-150e_coco.py')), (800, 1216))
    parts = {part.name: part.multiply_adds for part in result.model.parts}
    n, c = 25 * 38, 256
    assert parts['encoder'] == 6 * (4 * n * c * c + 2 * n * n * c + 2 * n * c * 2048)


def test_build_allocates_no_weights():
    model = build(load(MASK_RCNN_SWIN))
    real = [name for name, p in model.named_parameters() if not p.is_meta]
    # All but what constructors fill with values of their own.
    assert sum(model.get_parameter(name).numel() for name in real) < 100_000


def test_build_loads_nothing():
    config = load(MASK_RCNN)
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='/nowhere/at/all.pth')
    assert count(build(config), (64, 64)).model.parameters > 44e6


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'model.neck.type': 'FFPN'}, "'FFPN' .*mean FPN"),
        ({'model.neck.outs': 3}, 'outs'),
        ({'model.backbone.type': 'GLNet', 'model.backbone.arch': '5g'}, 'arch'),
    ],
)
def test_build_errors(settings, message):
    config = load(RETINANET)
    if 'model.backbone.type' in settings:
        config.model.backbone = dict()
    config.merge_from_dict(settings)
    with pytest.raises(UserError, match=message):
        build(config)


def test_config_without_a_model():
    with pytest.raises(UserError, match='`model`, only schedule'):
        build(Config(dict(schedule=1)))


def test_heads_that_need_more_than_features():
    model = build(load('mmdet::double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py'))
    with pytest.raises(UserError, match=r'FasterRCNN .*64 x 64: .*x_reg'):
        count(model, (64, 64))
