"""The runner's parts beside OpenCV, torchvision, mmdet and COCO's own code."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn import functional as F
from torchvision.ops import batched_nms

pytestmark = pytest.mark.slow

SIDES = st.integers(1, 70)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_resizing_is_opencvs_bit_for_bit(runner, old, new, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (*old, 3), dtype=np.uint8)
    assert (runner.resize(pixels, *new) == cv2.resize(pixels, new[::-1])).all()


def test_jpegs_are_read_as_opencv_reads_them(runner, photos):
    for photo in photos:
        assert (runner.read_image(photo) == cv2.imread(str(photo))[:, :, ::-1]).all()


def test_images_are_turned_upright(runner, tmp_path):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.resize((16, 8)).save(tmp_path / 'turned.jpg', exif=exif)
    pixels = runner.read_image(tmp_path / 'turned.jpg')
    assert pixels.shape == (16, 8, 3)
    assert (pixels == cv2.imread(str(tmp_path / 'turned.jpg'))[:, :, ::-1]).all()


@pytest.mark.parametrize('name', ['grey16.png', 'grey16.tif', 'colour16.png', 'print.jpg', 'p.gif'])
def test_images_of_other_kinds_are_read_as_opencv_reads_them(runner, tmp_path, name):
    path = str(tmp_path / name)
    colours = np.random.default_rng(0).integers(0, 2**16, (9, 17, 3), dtype=np.uint16)
    if '16' in name:
        cv2.imwrite(path, colours if name.startswith('c') else colours[:, :, 0])
    else:
        image = Image.fromarray((colours >> 8).astype(np.uint8))
        image.convert('CMYK' if name.startswith('print') else 'P').save(path)
    assert (runner.read_image(path) == cv2.imread(path)[:, :, ::-1]).all()


def test_what_is_no_image(runner, tmp_path, monkeypatch):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8 no more')
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / 'float.tif')
    for name in ('broken.jpg', 'float.tif'):
        with pytest.raises(runner.RunnerError, match=rf'{name}: not a readable image'):
            runner.read_image(tmp_path / name)
    Image.new('L', (40, 40)).save(tmp_path / 'large.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 700)
    with pytest.raises(runner.RunnerError, match=r'large\.png: not a readable image'):
        runner.read_image(tmp_path / 'large.png')
    with pytest.raises(runner.RunnerError, match='no such file'):
        runner.Model(tmp_path / 'none.onnx')


@pytest.mark.parametrize('count', [0, 1, 300])
def test_suppression_is_torchvisions(runner, count):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 40, (count, 2))]).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32)
    groups = rng.integers(0, 3, count)
    expected = batched_nms(*map(torch.tensor, (boxes, scores, groups)), 0.5).numpy()
    found = runner.suppress(boxes, scores, groups, 0.5)
    assert found.tolist() == expected.tolist()
    assert count < 2 or 3 < len(found) < count


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('new', [(4, 9), (16, 3), (1, 31)])
def test_interpolation_is_torchs(runner, new, align_corners):
    x = torch.randn(1, 1, 7, 11, dtype=torch.float64)
    expected = F.interpolate(x, new, mode='bilinear', align_corners=align_corners)[0, 0]
    down, across = (
        runner.interpolation(old, side, align_corners)
        for old, side in zip((7, 11), new, strict=True)
    )
    np.testing.assert_allclose(down @ x[0, 0].numpy() @ across.T, expected, atol=1e-12)


def test_masks_are_pasted_as_by_mmdet(runner):
    rng = np.random.default_rng(0)
    boxes = np.array([[3.2, 4.7, 21.9, 17.3], [-4, 2, 8, 50], [30, 30, 31, 31.5]], np.float32)
    masks = rng.random((3, 28, 28), dtype=np.float32)
    expected, _ = _do_paste_mask(
        torch.tensor(masks)[:, None], torch.tensor(boxes), 33, 40, skip_empty=False
    )
    found = runner.paste_masks(masks, boxes, (33, 40))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_anchors_and_deltas_are_mmdets(runner):
    generator = AnchorGenerator([8, 16], [0.5, 1, 2], octave_base_scale=4, scales_per_octave=3)
    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    own = dict(
        base=[anchors.tolist() for anchors in generator.base_anchors],
        strides=[list(stride) for stride in generator.strides],
    )
    sizes = [(5, 7), (3, 4)]
    rng = np.random.default_rng(0)
    outputs = {}
    for level, size in enumerate(sizes):
        outputs[f'scores{level}'] = rng.normal(size=(1, 9, *size)).astype(np.float32)
        outputs[f'deltas{level}'] = rng.normal(size=(1, 36, *size)).astype(np.float32) * 9
    settings = dict(means=[0.0] * 4, stds=[0.1, 0.1, 0.2, 0.2], clip=True, min_wh_ratio=16 / 1000)
    expected = generator.grid_priors(sizes, device='cpu')
    for (_, deltas, anchors), theirs in zip(runner.levels(outputs, own), expected, strict=True):
        np.testing.assert_array_equal(anchors, theirs.numpy())
        boxes = coder.decode(theirs, torch.tensor(deltas), max_shape=(40, 56)).numpy()
        found = runner.decode(anchors, deltas, settings, (40, 56))
        np.testing.assert_allclose(found, boxes, atol=1e-4)


@given(st.integers(0, 2**16), st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_run_lengths_are_cocos(runner, seed, height, width):
    mask = np.random.default_rng(seed).random((height, width)) < seed / 2**16
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    found = runner.run_lengths(mask)
    assert found == dict(size=expected['size'], counts=expected['counts'].decode())
