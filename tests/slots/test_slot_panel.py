"""The panel shows the map's and the heat's colours, whole, at any size."""

import cv2
import numpy as np
import pytest

from glmix_mm.slots.slot_panel import HEAT, PAGE, arrange, draw_heat, draw_slots
from glmix_mm.utils.palette import distinct_colours


def assignment_of(strongest, count):
    shares = np.full((count, *strongest.shape), 0.1 / count)
    np.put_along_axis(shares, strongest[None], 0.9, axis=0)
    return shares


@pytest.mark.parametrize(
    'size', [(2000, 1500), (200, 150), (32, 2000), (2000, 32), (64, 64), (150, 200)]
)
def test_panels_of_any_size(size):
    image = np.full((*size, 3), 120, np.uint8)
    strongest = np.zeros((6, 8), int)
    strongest[:, 3:] = 5
    panel = draw_slots(image, assignment_of(strongest, 64), 'a title')
    assert panel.dtype == np.uint8
    assert panel.shape[0] <= PAGE[1] and panel.shape[1] <= PAGE[0] + 200
    first, second = distinct_colours(2)
    (height, width) = arrange(*size)[1]
    for colour, part in ((first, 5 / 8), (second, 3 / 8)):
        count = (panel == colour).all(2).sum()
        # The swatches beside the titles, where the slot is shown, have the colour as well.
        assert count >= part * height * width - height and count < part * height * width + 1500
    edge = np.concatenate([panel[:8].ravel(), panel[-4:].ravel(), panel[:, -8:].ravel()])
    assert (edge == 255).all()


def test_pictures_fill_the_page():
    assert arrange(600, 800)[0] == 3
    assert arrange(100, 2000)[0] == 1
    assert arrange(2000, 100)[0] == 6
    assert arrange(60, 80) == arrange(600, 800)


def test_heat_is_stretched_and_outlined_half_way():
    share = np.tile(np.linspace(0.2, 0.3, 5), (3, 1))
    picture = draw_heat(np.zeros((90, 150, 3), np.uint8), share)
    for x, heat in ((0, 0.0), (149, 1.0)):
        expected = 0.7 * 255 * np.array(HEAT(heat)[:3])
        np.testing.assert_allclose(picture[45, x], expected, atol=1)
    row = cv2.cvtColor(picture[45:46], cv2.COLOR_RGB2GRAY)[0]
    assert abs(int(np.flatnonzero(row == 255)[0]) - 75) <= 1  # the middle of the linear ramp
    assert (row == 255).sum() == 2


def test_an_even_map_is_drawn():
    picture = draw_heat(np.zeros((9, 9, 3), np.uint8), np.full((2, 2), 0.5))
    assert (picture == picture[0, 0]).all()
