"""What the configs' pipelines make of an image, and test-time augmentation from end to end."""

from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

HEIGHT, WIDTH = 100, 163  # px


@pytest.fixture
def photo(tmp_path):
    """Write a smooth colour image and a label map of the same size; return their paths."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([rows * 2, columns, rows + columns], axis=2) % 256
    cv2.imwrite(str(tmp_path / 'photo.png'), image.astype(np.uint8))
    labels = np.where(columns < WIDTH // 2, 1, 150).astype(
        np.uint8
    )  # ADE20K's ids: 0 is unlabelled
    cv2.imwrite(str(tmp_path / 'labels.png'), labels)
    return tmp_path / 'photo.png', tmp_path / 'labels.png'


def compose(pipeline, scope: str) -> Compose:
    """Build a pipeline as the data set of this scope does."""
    with DefaultScope.overwrite_default_scope(scope):
        return Compose(pipeline)


def coco_sample(photo) -> dict:
    """Return what CocoDataset hands to its pipeline: an image with one object, 40 x 60 px."""
    polygon = [20.0, 30.0, 80.0, 30.0, 80.0, 70.0, 20.0, 70.0]
    return dict(
        img_path=str(photo[0]),
        img_id=1,
        height=HEIGHT,
        width=WIDTH,
        instances=[dict(bbox=[20, 30, 80, 70], bbox_label=3, ignore_flag=0, mask=[polygon])],
    )


def ade_sample(photo) -> dict:
    """Return what ADE20KDataset hands to its pipeline."""
    return dict(
        img_path=str(photo[0]),
        seg_map_path=str(photo[1]),
        reduce_zero_label=True,
        label_map=None,
        seg_fields=[],
    )


@pytest.mark.parametrize('name', ['maskrcnn_glnet_4g_3x.py', 'retinanet_glnet_4g_3x.py'])
def test_multiscale_training_draws_every_short_side(load, photo, name):
    np.random.seed(0)
    steps = load(name).train_dataloader.dataset.pipeline
    for step in steps:
        if step.type == 'RandomChoice':
            step.prob = [1.0, 0.0]  # without crops
    pipeline = compose(steps, 'mmdet')
    seen = Counter()
    for _ in range(80):
        packed = pipeline(coco_sample(photo))
        _, height, width = packed['inputs'].shape
        seen[height] += 1
        assert width == round(WIDTH * height / HEIGHT)
        objects = packed['data_samples'].gt_instances
        factor = height / HEIGHT
        left, top, right, bottom = objects.bboxes.tensor[0].tolist()
        assert (right - left, bottom - top) == pytest.approx((60 * factor, 40 * factor), rel=0.01)
        if name.startswith('maskrcnn'):
            area = objects.masks.masks[0].sum()
            assert area == pytest.approx(2400 * factor**2, rel=0.03)
    assert set(seen) == {480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800}


def test_half_of_the_images_of_3x_are_cropped(load, photo):
    np.random.seed(0)
    pipeline = compose(load('maskrcnn_glnet_4g_3x.py').train_dataloader.dataset.pipeline, 'mmdet')
    whole, tries = 0, 60
    for _ in range(tries):
        packed = pipeline(coco_sample(photo))
        height, width = packed['data_samples'].img_shape
        assert min(height, width) in range(480, 801, 32) or max(height, width) == 1333
        whole += width == round(WIDTH * height / HEIGHT)
        objects = packed['data_samples'].gt_instances
        boxes = objects.bboxes.tensor
        for mask, box in zip(objects.masks.masks, boxes, strict=True):
            columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
            found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert found == pytest.approx(box.tolist(), abs=4), "the box is its mask's"
    assert tries / 4 < whole < tries * 3 / 4


def test_detection_tests_at_a_short_side_of_800(load, photo):
    pipeline = compose(load('maskrcnn_glnet_4g_1x.py').test_dataloader.dataset.pipeline, 'mmdet')
    assert pipeline(coco_sample(photo))['inputs'].shape == (3, 800, 1304)


@pytest.mark.parametrize('name', ['semfpn_glnet_4g_80k.py', 'upernet_glnet_4g_160k.py'])
def test_segmentation_trains_on_crops_of_zero_based_labels(load, photo, name):
    np.random.seed(0)
    cfg = load(name)
    pipeline = compose(cfg.train_dataloader.dataset.pipeline, 'mmseg')
    labels = set()
    for _ in range(10):
        packed = pipeline(ade_sample(photo))
        assert max(packed['inputs'].shape[1:]) <= 512
        labels |= set(packed['data_samples'].gt_sem_seg.data.unique().tolist())
    assert labels == {0, 149}


@pytest.mark.parametrize(
    ('name', 'width'),
    [
        ('semfpn_glnet_4g_80k.py', 864),
        ('upernet_glnet_4g_160k.py', 835),
        ('fcvit/semfpn_fcvit_b12_40k.py', 864),
    ],
)
def test_segmentation_tests_at_a_short_side_of_512(load, photo, name, width):
    # 163 px x 5.12 = 834.56 px; the next multiple of 32 is 864.
    pipeline = compose(load(name).test_dataloader.dataset.pipeline, 'mmseg')
    packed = pipeline(ade_sample(photo))
    assert packed['inputs'].shape == (3, 512, width)
    assert packed['data_samples'].gt_sem_seg.data.shape == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize(('name', 'divisor'), [('semfpn', 32), ('upernet', 1)])
def test_multiscale_testing_scales_the_tested_size(load, photo, name, divisor):
    schedule = {'semfpn': '80k', 'upernet': '160k'}[name]
    cfg = load(f'{name}_glnet_4g_{schedule}.py')
    views = compose(cfg.tta_pipeline, 'mmseg')(ade_sample(photo))
    expected = Counter()
    for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75):
        width = int(WIDTH * 5.12 * ratio + 0.5)
        width = -(-width // divisor) * divisor
        expected[(3, int(512 * ratio), width)] += 2  # as it is and flipped
    assert Counter(tuple(view.shape) for view in views['inputs']) == expected
    flips = Counter(sample.flip for sample in views['data_samples'])
    assert flips == {True: 6, False: 6}


def shrink_views(cfg) -> None:
    """Let test-time augmentation resize to two small sizes instead of the config's."""
    cfg.tta_pipeline[1].transforms[0] = [
        dict(type='Resize', scale=(side, side), keep_ratio=True) for side in (96, 160)
    ]


def test_segmentation_tta_averages_the_probabilities_of_its_views(nano, photo):
    torch.manual_seed(0)
    cfg = nano('semfpn_glnet_4g_80k.py')
    shrink_views(cfg)
    views = compose(cfg.tta_pipeline, 'mmseg')(ade_sample(photo))
    views = {key: [[entry] for entry in value] for key, value in views.items()}  # a batch of one
    tta = MODELS.build(dict(cfg.tta_model, module=cfg.model))
    model = revert_sync_batchnorm(tta.module)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)  # so that classes differ clearly
    tta.eval()
    with torch.no_grad():
        (merged,) = tta.test_step(views)
        probabilities = 0
        for (inputs,), (sample,) in zip(views['inputs'], views['data_samples'], strict=True):
            image = inputs.float()[[2, 1, 0]]
            mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
            std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
            logits = model.encode_decode(((image - mean) / std)[None], [sample.metainfo])
            if sample.flip:
                logits = logits.flip(3)
            logits = torch.nn.functional.interpolate(logits, (HEIGHT, WIDTH), mode='bilinear')
            probabilities = probabilities + logits[0].softmax(0)
    assert len(merged.pred_sem_seg.data.unique()) > 1
    assert torch.equal(merged.pred_sem_seg.data, probabilities.argmax(0)[None])


def test_retinanet_tta_merges_boxes_of_all_views(nano, photo):
    torch.manual_seed(0)
    cfg = nano('retinanet_glnet_4g_1x.py')
    assert [step.scale for step in cfg.tta_pipeline[1].transforms[0]] == [
        (1333, 800),
        (666, 400),
        (2000, 1200),
    ]
    cfg.model.test_cfg.score_thr = 0.0
    shrink_views(cfg)
    views = compose(cfg.tta_pipeline, 'mmdet')(coco_sample(photo))
    views = {key: [[entry] for entry in value] for key, value in views.items()}
    tta = MODELS.build(dict(cfg.tta_model, module=cfg.model)).eval()
    candidates = []
    with torch.no_grad():
        for inputs, samples in zip(views['inputs'], views['data_samples'], strict=True):
            view = dict(inputs=inputs, data_samples=[samples[0].clone()])
            (alone,) = tta.module.test_step(view)
            boxes = alone.pred_instances.bboxes
            if samples[0].flip:
                boxes = torch.stack(
                    [WIDTH - boxes[:, 2], boxes[:, 1], WIDTH - boxes[:, 0], boxes[:, 3]], dim=1
                )
            candidates.append(boxes)
        (merged,) = tta.test_step(views)
    found = merged.pred_instances
    assert len(found) == 100
    # Each box is one of those that the four views give alone, and every view gives some.
    distances = [(found.bboxes[:, None] - boxes).abs().amax(2).amin(1) for boxes in candidates]
    assert torch.stack(distances).amin(0).max() < 0.01  # px
    assert [(distance < 0.01).any().item() for distance in distances] == [True] * 4
