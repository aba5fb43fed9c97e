"""Textures, shapes and occlusion: one random scene of the embedded demo set, drawn by numpy.

Pixels are decided at their centres and edges are hard, so a mask is exactly the drawn pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHAPES = ('disc', 'square', 'triangle', 'star', 'ring')
MIN_VISIBLE = 0.3  # an object of which less can be seen is left out of the picture
MAX_OBJECTS = 6
RADIUS = (0.12, 0.2)  # of the image's side
TILT = np.radians(20)
PLACES = 2  # an object goes to the least crowded of so many random places
CROWD_DISCS = 14
CROWD_RADIUS = 0.035  # of the image's side
MIN_CONTRAST = 110.0  # Euclidean distance of the mean colours of object and background, in RGB
GROUND_TEXTURE = 60.0  # most that the two colours of a texture differ by in a channel
OBJECT_TEXTURE = 40.0


@dataclass(frozen=True)
class Thing:
    """One annotated thing: a shape, or a crowd of small ones.

    Attributes:
        label: index into ``SHAPES``.
        mask: its visible pixels, bool (H, W).
        crowd: whether it is a group that is not told apart.
    """

    label: int
    mask: np.ndarray
    crowd: bool = False


def draw_scene(
    rng: np.random.Generator, size: int, count: int, crowd: bool = False
) -> tuple[np.ndarray, list[Thing]]:
    """Draw a textured background and ``count`` objects that may hide one another.

    Objects are placed first; one that shows less than ``MIN_VISIBLE`` of the part inside the
    image is taken out of the scene altogether, so picture and annotations agree.

    Args:
        rng: source of every random choice.
        size: side of the image in pixels.
        count: number of objects before the hidden ones are taken out.
        crowd: whether to put a crowd of small discs behind the objects.

    Returns:
        The image, uint8 RGB (size, size, 3), and its things from back to front.
    """
    ground = _colours(rng, GROUND_TEXTURE)
    image = _paint(rng, size, *ground)
    full = [(SHAPES.index('disc'), _crowd_mask(rng, size), True)] if crowd else []
    taken = np.zeros((size, size), bool)
    for _ in range(count):
        label = int(rng.integers(len(SHAPES)))
        places = [_random_shape(rng, size, SHAPES[label]) for _ in range(PLACES)]
        whole = min(places, key=lambda mask: (mask & taken).sum() / mask.sum())
        taken |= whole
        full.append((label, whole, False))
    things = _visible(full)
    for thing in things:
        colours = _contrasting_colours(rng, ground)
        image[thing.mask] = _paint(rng, size, *colours)[thing.mask]
    shaded = image * _shading(rng, size)[..., None] + rng.normal(0, 3, image.shape)
    return np.clip(np.rint(shaded), 0, 255).astype(np.uint8), things


def _visible(full: list[tuple[int, np.ndarray, bool]]) -> list[Thing]:
    """Return what is seen of each (label, whole mask, crowd), given from back to front.

    The scene is walked from the front, so an object that is left out hides nothing.
    """
    things: list[Thing] = []
    covered = np.zeros_like(full[0][1]) if full else None
    for label, whole, crowd in reversed(full):
        mask = whole & ~covered
        if mask.sum() >= MIN_VISIBLE * max(whole.sum(), 1) and mask.any():
            things.append(Thing(label, mask, crowd))
            covered = covered | whole
    return things[::-1]


def _local_grid(size: int, x: float, y: float, radius: float, angle: float):
    """Return coordinates (u, v) of all pixel centres in a shape's own frame (its radius is 1)."""
    axis = np.arange(size) + 0.5
    dx, dy = np.meshgrid((axis - x) / radius, (axis - y) / radius)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * dx + sin * dy, cos * dy - sin * dx


def _half_planes(u: np.ndarray, v: np.ndarray, sides: int, distance: float) -> np.ndarray:
    """Count at each point in how many of ``sides`` regular half planes it lies."""
    angles = 2 * np.pi * np.arange(sides) / sides
    return sum((u * np.cos(a) + v * np.sin(a) <= distance).astype(int) for a in angles)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a star of five points, one of them up; its inner corners are at half the radius."""
    sector = np.radians(72)
    angle = np.abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)  # from the next point
    radius = np.hypot(u, v)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    # The edge goes from the point (1, 0) to the inner corner.
    corner_x, corner_y = 0.5 * np.cos(sector / 2), 0.5 * np.sin(sector / 2)
    return (corner_x - 1) * y - corner_y * (x - 1) >= 0


INSIDE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    'disc': lambda u, v: u * u + v * v <= 0.81,
    'square': lambda u, v: np.maximum(abs(u), abs(v)) <= 0.75,
    'triangle': lambda u, v: _half_planes(v, u, 3, 0.5) == 3,
    'star': _star,
    'ring': lambda u, v: (u * u + v * v <= 0.9) & (u * u + v * v >= 0.25),
}


def _random_shape(rng: np.random.Generator, size: int, name: str) -> np.ndarray:
    """Return the whole mask of a shape of random size, place and rotation."""
    radius = size * rng.uniform(*RADIUS)
    x, y = rng.uniform(0.7 * radius, size - 0.7 * radius, 2)
    return INSIDE[name](*_local_grid(size, x, y, radius, rng.uniform(-TILT, TILT)))


def _crowd_mask(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the union of many small discs about one place."""
    mask = np.zeros((size, size), bool)
    centre = rng.uniform(0.25 * size, 0.75 * size, 2)
    for x, y in rng.normal(centre, 0.1 * size, (CROWD_DISCS, 2)):
        mask |= INSIDE['disc'](*_local_grid(size, x, y, CROWD_RADIUS * size, 0.0))
    return mask


def _colours(rng: np.random.Generator, difference: float) -> np.ndarray:
    """Return the two colours of a texture, (2, 3), which differ by at most ``difference``."""
    first = rng.uniform(20, 235, 3)
    second = first + rng.uniform(-difference, difference, 3)
    return np.clip([first, second], 0, 255)


def _contrasting_colours(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """Return the colours of an object that differ enough from those of the background."""
    while True:
        colours = _colours(rng, OBJECT_TEXTURE)
        if np.linalg.norm(colours.mean(0) - ground.mean(0)) >= MIN_CONTRAST:
            return colours


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return smooth noise in 0..1: a coarse random grid, interpolated bilinearly."""
    cells = int(rng.integers(6, 24))
    grid = rng.uniform(0, 1, (cells + 1, cells + 1))
    place = np.linspace(0, cells, size, endpoint=False)
    low = place.astype(int)
    part = place - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    u, _ = _local_grid(size, 0, 0, rng.uniform(1.0, 3.0), rng.uniform(0, np.pi))
    return 0.5 + 0.5 * np.sin(u)


def _checks(rng: np.random.Generator, size: int) -> np.ndarray:
    u, v = _local_grid(size, 0, 0, rng.uniform(5, 14), rng.uniform(0, np.pi))
    return ((np.floor(u) + np.floor(v)) % 2).astype(float)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    u, _ = _local_grid(size, size / 2, size / 2, 0.7 * size, rng.uniform(0, 2 * np.pi))
    return np.clip(0.5 + 0.5 * u, 0, 1)


TEXTURES = (_noise, _stripes, _checks, _gradient)


def _paint(
    rng: np.random.Generator, size: int, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return a random texture between two colours, float (size, size, 3)."""
    weight = TEXTURES[rng.integers(len(TEXTURES))](rng, size)[..., None]
    return first * (1 - weight) + second * weight


def _shading(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the factor of an uneven light over the image, float (size, size)."""
    return 0.8 + 0.3 * _gradient(rng, size)
