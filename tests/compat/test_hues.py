"""mmcv turns hues backwards with numpy 2, as it did with numpy 1."""

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

import glmix_mm  # noqa: F401


@pytest.mark.parametrize('factor', [-0.5, -0.1, 0.0, 0.3])
def test_cv2_hues(factor):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL))
    hue = (hue.astype(int) + int(factor * 255)) % 256
    expected = cv2.merge([hue.astype(np.uint8), saturation, value])
    expected = cv2.cvtColor(expected, cv2.COLOR_HSV2BGR_FULL)
    np.testing.assert_array_equal(mmcv.adjust_hue(image, factor, backend='cv2'), expected)


@pytest.mark.parametrize('factor', [-0.5, -0.1, 0.0, 0.3])
def test_pillow_hues(factor):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    hsv = np.array(Image.fromarray(image[..., ::-1].copy()).convert('HSV'))
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(factor * 255)) % 256
    expected = np.array(Image.fromarray(hsv, 'HSV').convert('RGB'))[..., ::-1]
    np.testing.assert_array_equal(mmcv.adjust_hue(image, factor, backend='pillow'), expected)
