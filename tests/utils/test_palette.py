"""The map's colours stay apart, for colour-blind readers too."""

import numpy as np
import pytest

from glmix_mm.utils.palette import as_seen, distinct_colours


def lab(colour):
    """CIELAB of an sRGB colour, D65, by its definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.array(to_xyz) @ linear / (0.9505, 1.0, 1.089)
    f = [t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in (x, y, z)]
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]


@pytest.mark.parametrize(('count', 'least'), [(8, 27), (64, 7)])
def test_least_distance_to_any_eyes(count, least):
    colours = np.array(distinct_colours(count)) / 255
    assert colours.shape == (count, 3)
    for seen in as_seen(colours):
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        assert distances[~np.eye(count, dtype=bool)].min() > least


def test_fewer_are_the_first_of_more():
    assert distinct_colours(100)[:49] == distinct_colours(49)
    assert len(set(distinct_colours(100))) == 100


def test_what_is_seen():
    colours = np.array([(0.1, 0.5, 0.9), (1, 0, 0), (0, 0.6, 0), (0.5, 0.5, 0.5)])
    plain, protan, deutan, tritan = as_seen(colours)
    np.testing.assert_allclose(plain, [lab(c) for c in colours], atol=0.5)
    # Grey is grey to all; red and green are nearer to each other to who lacks red or green cones.
    for view in (protan, deutan, tritan):
        np.testing.assert_allclose(view[3], plain[3], atol=0.5)
    apart = [np.linalg.norm((view[1] - view[2])[1:]) for view in (plain, protan, deutan)]
    assert max(apart[1:]) < apart[0] / 3
