"""A panel that shows what the slots of a block contain: image, map, heat maps of slots."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from ..inference.drawing import BRIGHTNESS
from ..inference.fonts import font_for
from ..utils.palette import distinct_colours
from .assignments import representative_slots

SHOWN = 4  # slots
PAGE = (1800, 1200)  # width and height in which the pictures are to be as large as possible, pixels
MARGIN, TEXT = 16, 20  # pixels
TITLE = TEXT + MARGIN // 2
MIN_CELL = 300  # width that the titles need, pixels
HEAT = colormaps['inferno']  # grows evenly in lightness, so it reads in any kind of sight
OPACITY = 0.7  # of the heat over the image
OUTLINE = 2  # pixels, of white inside and of black outside


class Tile(NamedTuple):
    """A picture (h, w, 3), its title, and the colour of its slot in the map, if it has one."""

    picture: np.ndarray
    title: str
    colour: tuple[int, int, int] | None = None


def draw_slots(image: np.ndarray, assignment: np.ndarray, title: str = '') -> np.ndarray:
    """Draw the panel of one image and one block.

    It has six pictures. The first is the image. In the second, each position has the colour of its
    strongest slot. The others show the four most representative slots (see
    :func:`~glmix_mm.slots.assignments.representative_slots`): the share of each position in the
    slot, from the least to the most of that picture, with an outline half-way.

    The colours of the map are those of :func:`~glmix_mm.utils.palette.distinct_colours`;
    the slot that is strongest at most positions has the first, and so on, as those differ the most.

    Args:
        image: RGB, uint8 (H, W, 3).
        assignment: each position's shares of the slots, (S, h, w), as
            :func:`~glmix_mm.slots.assignments.slot_assignments` returns them, of one image.
        title: the text above the pictures.

    Returns:
        RGB, uint8, about 1800 x 1200 pixels at most, whatever the image's size and aspect ratio.
    """
    columns, size = arrange(*image.shape[:2])
    photo = resized(image, size)
    positions, sizes, palette = draw_strongest(assignment, size)
    seen = np.count_nonzero(sizes)
    tiles = [
        Tile(photo, 'image'),
        Tile(positions, f'strongest slot ({seen} of {len(sizes)} slots)'),
    ]
    for slot, count in zip(*representative_slots(assignment, SHOWN), strict=True):
        share = assignment[slot]
        colour = tuple(map(int, palette[slot])) if sizes[slot] else None
        least, most = (f'{100 * value:.3g}' for value in (share.min(), share.max()))
        text = f'slot {slot}, for {count} alike: {least} to {most} %'
        tiles.append(Tile(draw_heat(photo, share), text, colour))
    return compose(tiles, columns, title, heat=True)


def draw_strongest(
    assignment: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour each position by its strongest slot.

    Args:
        assignment: each position's shares of the slots, (S, h, w).
        size: height and width of the picture, pixels.

    Returns:
        The picture, RGB, uint8; at how many positions each slot is the strongest, (S,); and the
        slots' colours, (S, 3).
    """
    strongest = assignment.argmax(0)
    sizes = np.bincount(strongest.ravel(), minlength=len(assignment))
    order = np.argsort(-sizes, kind='stable')
    palette = np.empty((len(assignment), 3), np.uint8)
    palette[order] = distinct_colours(len(assignment))
    picture = cv2.resize(palette[strongest], size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return picture, sizes, palette


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an RGB image to a height and width."""
    smaller = size[1] < image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(image, size[::-1], interpolation=interpolation)


def panel_title(name: str, block: int, assignment: np.ndarray) -> str:
    """Return the title of the panel of an image's name and a block's shares (S, h, w)."""
    slots, height, width = assignment.shape
    return f'{name}, block {block}: {slots} slots, {height} x {width} positions'


def draw_heat(photo: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Draw a slot's shares (h, w), stretched from their least to their most, over a photo."""
    height, width = photo.shape[:2]
    heat = share.astype(np.float32) - share.min()
    heat /= max(heat.max(), 1e-12)
    heat = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    grey = (photo @ BRIGHTNESS)[..., None]
    picture = (1 - OPACITY) * grey + OPACITY * 255 * HEAT(heat)[..., :3]
    inside = (heat > 0.5).astype(np.uint8)
    kernel = np.ones((2 * OUTLINE + 1,) * 2, np.uint8)
    picture[inside > cv2.erode(inside, kernel)] = 255
    picture[cv2.dilate(inside, kernel) > inside] = 0
    return np.rint(picture).astype(np.uint8)


def arrange(height: int, width: int, count: int = 2 + SHOWN) -> tuple[int, tuple[int, int]]:
    """Return in how many columns pictures are largest on the page, and their size there.

    Args:
        height: of the image, in any unit.
        width: the same.
        count: how many pictures of that shape there are.
    """
    options = []
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        free_width = PAGE[0] - (columns + 1) * MARGIN
        free_height = PAGE[1] - 2 * (MARGIN + TITLE) - rows * (TITLE + MARGIN)
        options.append((min(free_width / columns / width, free_height / rows / height), -columns))
    scale, columns = max(options)
    return -columns, (max(1, round(scale * height)), max(1, round(scale * width)))


def compose(tiles: Sequence[Tile], columns: int, title: str = '', heat: bool = False) -> np.ndarray:
    """Put pictures of one size on a page, RGB, row by row; ``heat`` adds the scale of heat maps."""
    height, width = tiles[0].picture.shape[:2]
    cell = (max(width, MIN_CELL) + MARGIN, height + TITLE + MARGIN)
    rows = -(-len(tiles) // columns)
    top = MARGIN + (TITLE + MARGIN if title else 0)
    size = (MARGIN + columns * cell[0], top + rows * cell[1] + (TITLE if heat else 0))
    page = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(page)
    _write(draw, (MARGIN, MARGIN), title, size[0] - 2 * MARGIN)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        x, y = MARGIN + column * cell[0], top + row * cell[1]
        page.paste(Image.fromarray(tile.picture), (x, y + TITLE))
        if tile.title.startswith('slot'):
            box = (x, y + 2, x + TEXT - 4, y + TEXT - 2)
            draw.rectangle(box, fill=tile.colour or 'white', outline='black')
            x += TEXT + 2
        _write(draw, (x, y), tile.title, cell[0] - MARGIN - (TEXT + 2))
    if heat:
        _write_scale(page, draw, size[1] - MARGIN // 2 - TEXT)
    return np.asarray(page)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int) -> None:
    """Write a line, smaller if it is too long for its place."""
    size = TEXT
    while size > TEXT // 2 and font_for(text, size).getlength(text) > width:
        size -= 1
    draw.text((place[0], place[1] + TEXT / 2), text, 'black', font_for(text, size), 'lm')


def _write_scale(page: Image.Image, draw: ImageDraw.ImageDraw, y: int) -> None:
    """Write at the foot what the colours of the heat maps mean."""
    font = ImageFont.load_default(TEXT)
    x = MARGIN
    draw.text((x, y + TEXT / 2), 'least', 'black', font, 'lm')
    x += int(font.getlength('least')) + MARGIN // 2
    ramp = np.rint(255 * HEAT(np.linspace(0, 1, 150))[:, :3]).astype(np.uint8)
    page.paste(Image.fromarray(np.tile(ramp, (TEXT - 4, 1, 1))), (x, y + 2))
    x += len(ramp) + MARGIN // 2
    _write(
        draw,
        (x, y),
        'most of a position that goes to the slot; outline: half-way',
        page.width - x - MARGIN,
    )
