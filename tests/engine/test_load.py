"""`from glmix_mm import load` beside the libraries' own functions."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.structures import DetDataSample
from mmseg.apis import inference_model, init_model
from mmseg.structures import SegDataSample

from glmix_mm import load
from glmix_mm.datasets.demo import DEMO_CLASSES
from glmix_mm.errors import UserError


@pytest.fixture
def photos(demo_root):
    return sorted((demo_root / 'coco' / 'val2017').iterdir())[:2]


def test_a_detector(nano_detector, detector_weights, photos):
    model = load(nano_detector, checkpoint=detector_weights, device='cpu')
    assert model.classes == list(DEMO_CLASSES)
    plain = init_detector(nano_detector, detector_weights, device='cpu')
    results = model(photos)
    assert len(results) == 2
    for photo, result in zip(photos, results, strict=True):
        assert isinstance(result, DetDataSample)
        expected = inference_detector(plain, str(photo)).pred_instances
        assert len(expected)
        for key in ('bboxes', 'scores', 'labels', 'masks'):
            assert torch.equal(result.pred_instances[key], expected[key])
    check_pixels(model, photos, lambda result: result.pred_instances.bboxes)


def check_pixels(model, photos, part):
    """Pixels give what their file gives, and files do so after pixels as well."""
    expected = [part(result) for result in model(photos)]
    images = [cv2.imread(str(photos[0])), photos[1], str(photos[0])]
    for result, index in zip(model(images), (0, 1, 0), strict=True):
        assert torch.equal(part(result), expected[index])


def test_a_segmentor(nano_segmentor, segmentor_weights, photos):
    model = load(nano_segmentor, segmentor_weights, 'cpu')
    result = model(str(photos[0]))
    assert isinstance(result, SegDataSample)
    plain = init_model(nano_segmentor, segmentor_weights, device='cpu')
    plain.cfg.test_pipeline = plain.cfg.test_dataloader.dataset.pipeline
    expected = inference_model(plain, str(photos[0])).pred_sem_seg.data
    assert torch.equal(result.pred_sem_seg.data, expected)
    check_pixels(model, photos, lambda result: result.pred_sem_seg.data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_gpu_is_taken_where_there_is_one(nano_detector, detector_weights, photos):
    result = load(nano_detector, detector_weights)(photos[0]).pred_instances
    assert result.bboxes.device.type == 'cuda'
    expected = load(nano_detector, detector_weights, 'cpu')(photos[0]).pred_instances
    assert len(result) == len(expected)
    torch.testing.assert_close(result.scores.cpu(), expected.scores, atol=0.01, rtol=0)


def test_without_weights_it_says_so(photos):
    with pytest.warns(UserWarning, match='without a checkpoint: all weights are random'):
        model = load('semfpn_glnet_nano', device='cpu')
    assert len(model.classes) == 6
    assert model(photos[0]).pred_sem_seg.data.shape == (1, 64, 64)
    for image, message in (
        (np.zeros((9, 9), np.uint8), r'found ndarray of shape \(9, 9\); expected a file, or BGR'),
        (None, 'found NoneType; expected'),  # what OpenCV returns for a missing file
        ('none.jpg', 'none.jpg: No such file'),
    ):
        with pytest.raises(UserError, match=message):
            model(image)


def test_mistakes(nano_detector, segmentor_weights):
    for arguments, message in (
        (['maskrcn_glnet_4g_3x'], 'no such config: .*did you mean'),
        (['imagenet/glnet_4g'], 'is for mmpretrain; expected a detector or a segmentor'),
        ([nano_detector, segmentor_weights], 'does not fit'),
        ([nano_detector, None, 'tpu'], '^device=tpu: expected cpu, cuda or cuda:N'),
    ):
        with pytest.raises(UserError, match=message):
            load(*arguments)


def test_importing_the_package_imports_no_library():
    """`load` is there without its imports having been made."""
    code = (
        'import sys, glmix_mm\n'
        "print(sorted({'mmdet', 'mmseg', 'timm', 'glmix_mm.engine.load'} & sys.modules.keys()))\n"
        'from glmix_mm import load\nprint(load.__module__)\n'
        'try:\n    glmix_mm.lod\nexcept AttributeError as error:\n    print(error)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    imported, module, error = done.stdout.splitlines()
    assert (imported, module) == ('[]', 'glmix_mm.engine.load')
    assert re.search(r"'glmix_mm' has no attribute 'lod'", error)
