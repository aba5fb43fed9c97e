"""Any number of colours that colour-blind readers, too, can tell apart."""

import functools

import cv2
import numpy as np

# What the eyes of the three kinds of dichromats see of linear RGB: Machado, Oliveira and Fernandes,
# "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG 2009.
PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
TRITANOPIA = (
    (1.255528, -0.076749, -0.178779),
    (-0.078411, 0.930809, 0.147602),
    (0.004733, 0.691367, 0.303900),
)
FIRST = (0, 114, 178)  # Okabe and Ito's blue
INSTANCE_COLOURS = 16  # more would look alike
LEVELS = 9  # of red, green and blue: 729 candidates
LIGHTNESS = (20, 96)  # of CIELAB; neither black nor the white of the page


@functools.cache
def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return colours, each as far as possible from those before it.

    They are chosen one by one from a grid over RGB. The distance of two colours is the least of
    their CIELAB distances to ordinary eyes and to the three kinds of dichromatic eyes. Of 64
    colours, no two are nearer than 7 (2.3 is just noticeable); of the first 8, no two are nearer
    than 27.

    Args:
        count: how many.

    Returns:
        RGB, from 0 to 255. Fewer colours are the first of more.
    """
    levels = np.linspace(0, 1, LEVELS)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), -1).reshape(-1, 3)
    lightness = _lab(grid)[:, 0]
    grid = grid[(lightness >= LIGHTNESS[0]) & (lightness <= LIGHTNESS[1])]
    colours = np.concatenate([[np.array(FIRST) / 255], grid])
    seen = as_seen(colours)
    chosen, distance = [0], np.full(len(colours), np.inf)
    while len(chosen) < count:
        to_last = np.linalg.norm(seen - seen[:, chosen[-1:]], axis=2).min(0)
        distance = np.minimum(distance, to_last)
        chosen.append(int(distance.argmax()))
    return tuple(tuple(map(int, np.rint(255 * colours[i]))) for i in chosen[:count])


def distinct_neighbours(boxes: np.ndarray) -> list[tuple[int, int, int]]:
    """Return a colour for each box: its own, or the one whose nearest other user is farthest away.

    Args:
        boxes: left, top, right and bottom, (N, 4).

    Returns:
        RGB, from 0 to 255, N.
    """
    colours = distinct_colours(INSTANCE_COLOURS)
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, 2:]
    gaps = np.maximum(low[:, None] - high, low - high[:, None]).clip(min=0)
    between = np.linalg.norm((low + high)[:, None] - (low + high), axis=2)
    distances = np.linalg.norm(gaps, axis=2) + 1e-3 * between  # which decides where boxes overlap
    nearest = np.full((len(colours), len(boxes)), np.inf)  # of each colour, to each box
    chosen = []
    for place, distance in enumerate(distances):
        chosen.append(int(nearest[:, place].argmax()))
        nearest[chosen[-1]] = np.minimum(nearest[chosen[-1]], distance)
    return [colours[i] for i in chosen]


def as_seen(colours: np.ndarray) -> np.ndarray:
    """Return sRGB colours (n, 3), from 0 to 1, in CIELAB to four kinds of eyes, (4, n, 3)."""
    low = colours <= 0.04045
    linear = np.where(low, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    views = [colours]
    for matrix in (PROTANOPIA, DEUTERANOPIA, TRITANOPIA):
        view = np.clip(linear @ np.array(matrix).T, 0, 1)
        view = np.where(view <= 0.0031308, 12.92 * view, 1.055 * view ** (1 / 2.4) - 0.055)
        views.append(view)
    return np.stack([_lab(view) for view in views])


def _lab(colours: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(colours[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
