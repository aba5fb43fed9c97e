"""Pictures of predictions beside the ground truth, and a sheet that shows several of them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.structures import InstanceData
from PIL import Image, ImageDraw, ImageFont

from ..errors import UserError
from ..platform.files import write_atomically

OPACITY = 0.65
BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # luma of RGB, ITU-R BT.601
IGNORED_COLOUR = (70, 70, 70)
COLUMNS = ('image', 'ground truth', 'prediction')
LEGEND_SIZE, TITLE_SIZE, LABEL_SIZE = 18, 22, 13  # text sizes in pixels
LABELS_HIGH = 50  # of a large picture, in labels
MARGIN = 14  # pixels
ONE_LINE = LEGEND_SIZE + 2 * MARGIN  # height of a legend

Colour = tuple[int, int, int]
Object = tuple[np.ndarray, Colour, str]  # mask (H, W), colour, text
Box = tuple[int, int, int, int]  # left, top, right, bottom, all inside
Row = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_detection(
    image: np.ndarray,
    gt: InstanceData,
    pred: InstanceData,
    classes: Sequence[str],
    palette: Sequence[Colour],
    score_thr: float = 0.5,
    ignored: InstanceData | None = None,
    scale: int = 2,
) -> Row:
    """Draw the objects of an image and the predicted ones.

    Args:
        image: RGB, uint8 (H, W, 3).
        gt: ``labels`` and ``masks``, bool or 0/1 (N, H, W).
        pred: the same with ``scores``.
        classes: names of the classes.
        palette: an RGB colour for each class.
        score_thr: predictions of a lower score are left out.
        ignored: ground truth that is not scored (crowds), drawn in grey.
        scale: whole factor by which the picture is enlarged.

    Returns:
        Three pictures, uint8 (scale * H, scale * W, 3): the image, the ground truth on it, the
        predictions on it.
    """
    plain = enlarge(image, scale)
    truth = [] if ignored is None else [(m, IGNORED_COLOUR, 'crowd') for m in _array(ignored.masks)]
    for mask, label in zip(_array(gt.masks), _array(gt.labels), strict=True):
        truth.append((mask, palette[label], classes[label]))
    scores, masks, labels = _array(pred.scores), _array(pred.masks), _array(pred.labels)
    # The surest predictions are drawn last, on top.
    shown = [i for i in np.argsort(scores) if scores[i] >= score_thr]
    guess = [(masks[i], palette[labels[i]], f'{classes[labels[i]]} {scores[i]:.2f}') for i in shown]
    return plain, _draw_objects(plain, truth, scale), _draw_objects(plain, guess, scale)


def draw_found(
    image: np.ndarray,
    found: InstanceData,
    classes: Sequence[str],
    palette: Sequence[Colour],
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw predicted objects on an image: their masks or else their boxes, names and scores.

    Args:
        image: RGB, uint8 (H, W, 3).
        found: ``labels``, ``scores``, and ``masks`` (N, H, W) or ``bboxes`` (N, 4).
        classes: names of the classes.
        palette: an RGB colour for each class.
        score_thr: objects of a lower score are left out.

    Returns:
        RGB, uint8 (H, W, 3). The surest objects lie on top; names hide none of each other where
        there is room.
    """
    scores, labels = _array(found.scores), _array(found.labels)
    shown = [i for i in np.argsort(scores, kind='stable') if scores[i] >= score_thr]
    if 'masks' in found:
        masks = [_array(found.masks)[i] for i in shown]
    else:
        masks = [_frame(image.shape[:2], box) for box in _array(found.bboxes)[shown]]
    names = [f'{classes[labels[i]]} {scores[i]:.2f}' for i in shown]
    colours = [palette[labels[i]] for i in shown]
    label_size = max(LABEL_SIZE, min(image.shape[:2]) // LABELS_HIGH)
    return _draw_objects(image, list(zip(masks, colours, names, strict=True)), 1, label_size)


def _frame(size: tuple[int, int], box: np.ndarray) -> np.ndarray:
    """Return the mask of a box's edge."""
    left, top, right, bottom = (max(0, round(float(side))) for side in box)
    inside = np.zeros(size, bool)
    inside[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return _outline(inside)


def draw_segmentation(
    image: np.ndarray,
    gt: np.ndarray,
    pred: np.ndarray,
    palette: Sequence[Colour],
    ignore_index: int = 255,
    scale: int = 2,
) -> Row:
    """Draw the true and the predicted label map of an image.

    Args:
        image: RGB, uint8 (H, W, 3).
        gt: label map, integers (H, W).
        pred: the same.
        palette: an RGB colour for each label.
        ignore_index: label of pixels that are not scored; they stay as they are in the image.
        scale: whole factor by which the picture is enlarged.

    Returns:
        As :func:`draw_detection`.
    """
    plain = enlarge(image, scale)
    colours = np.asarray(palette, np.uint8)
    pictures = []
    for labels in (gt, pred):
        labels = enlarge(_array(labels), scale)
        known = labels != ignore_index
        picture = plain.copy()
        picture[known] = _blend(plain[known], colours[labels[known]])
        pictures.append(picture)
    return plain, *pictures


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Repeat every pixel ``scale`` times in both directions."""
    return np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)


def save_contact_sheet(
    path: str | Path, rows: Sequence[Row], classes: Sequence[str], palette: Sequence[Colour]
) -> Path:
    """Save a PNG of several pictures, with titled columns and a legend of the classes' colours.

    Args:
        path: file to write; it appears when it is complete.
        rows: of each image the three pictures of :func:`draw_detection` or
            :func:`draw_segmentation`.
        classes: names for the legend.
        palette: their RGB colours.

    Returns:
        The absolute path.

    Raises:
        UserError: there are no rows.
    """
    if not rows:
        raise UserError(f'{path}: there is no image to draw; the data set has none with objects')
    width = max(sum(p.shape[1] for p in row) + MARGIN * (len(row) + 1) for row in rows)
    entries = _legend_places(classes, width)
    top = MARGIN + TITLE_SIZE + MARGIN
    legend_top = top + sum(row[0].shape[0] + MARGIN for row in rows)
    height = legend_top + entries[-1][1] + LEGEND_SIZE + 2 * MARGIN
    sheet = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(sheet)
    for y, row in zip(_offsets(rows, top), rows, strict=True):
        x = MARGIN
        for title, picture in zip(COLUMNS, row, strict=True):
            if y == top:
                centre = (x + picture.shape[1] / 2, MARGIN)
                draw.text(centre, title, fill='black', font=_font(TITLE_SIZE), anchor='ma')
            sheet.paste(Image.fromarray(picture), (x, y))
            x += picture.shape[1] + MARGIN
    _draw_legend(draw, legend_top, entries, classes, palette)
    buffer = io.BytesIO()
    sheet.save(buffer, 'PNG')
    write_atomically(path, buffer.getvalue())
    return Path(path).absolute()


def add_legend(
    picture: np.ndarray, classes: Sequence[str], palette: Sequence[Colour]
) -> np.ndarray:
    """Put a legend of classes under a picture.

    Args:
        picture: RGB, uint8 (H, W, 3).
        classes: names, at least one.
        palette: their RGB colours.

    Returns:
        RGB, uint8, higher than the picture, and wider where a name needs it, or where the legend
        would otherwise be higher than the picture.
    """
    height, width = picture.shape[:2]
    legend = draw_legend(classes, palette, width)
    while len(legend) > max(height, ONE_LINE):
        width += LEGEND_SIZE
        legend = draw_legend(classes, palette, width)
    sheet = np.full((height + len(legend), legend.shape[1], 3), 255, np.uint8)
    sheet[:height, : picture.shape[1]] = picture
    sheet[height:] = legend
    return sheet


def draw_legend(classes: Sequence[str], palette: Sequence[Colour], width: int) -> np.ndarray:
    """Draw a legend of classes, in as many lines as need be.

    Args:
        classes: names, at least one.
        palette: their RGB colours.
        width: of the picture, pixels; it is wider where a name needs it.

    Returns:
        RGB, uint8.
    """
    longest = max(int(_font(LEGEND_SIZE).getlength(name)) for name in classes)
    width = max(width, longest + LEGEND_SIZE + 3 * MARGIN)
    entries = _legend_places(classes, width)
    sheet = Image.new('RGB', (width, entries[-1][1] + ONE_LINE), 'white')
    _draw_legend(ImageDraw.Draw(sheet), MARGIN, entries, classes, palette)
    return np.asarray(sheet)


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    top: int,
    entries: Sequence[tuple[int, int]],
    classes: Sequence[str],
    palette: Sequence[Colour],
) -> None:
    for (x, y), name, colour in zip(entries, classes, palette, strict=True):
        box = (x, top + y, x + LEGEND_SIZE, top + y + LEGEND_SIZE)
        draw.rectangle(box, fill=tuple(colour), outline='black')
        corner = (box[2] + MARGIN // 2, top + y + LEGEND_SIZE / 2)
        draw.text(corner, name, fill='black', font=_font(LEGEND_SIZE), anchor='lm')


def _legend_places(classes: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Return where each entry of the legend stands, in as many lines as the width asks for."""
    places, x, y = [], MARGIN, 0
    for name in classes:
        length = int(_font(LEGEND_SIZE).getlength(name)) + LEGEND_SIZE + 2 * MARGIN
        if x > MARGIN and x + length > width:
            x, y = MARGIN, y + LEGEND_SIZE + MARGIN // 2
        places.append((x, y))
        x += length
    return places


def _offsets(rows: Sequence[Row], top: int) -> list[int]:
    heights = [row[0].shape[0] + MARGIN for row in rows]
    return [top + sum(heights[:i]) for i in range(len(rows))]


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _array(values) -> np.ndarray:
    """Return a numpy array of a tensor, of mmdet's masks, or of what is one already."""
    if hasattr(values, 'to_ndarray'):
        return values.to_ndarray()
    return values.cpu().numpy() if hasattr(values, 'cpu') else np.asarray(values)


def _blend(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Tint RGB pixels (N, 3); only their brightness shows through, so colours stay the legend's."""
    grey = pixels.astype(float) @ BRIGHTNESS
    mixed = (1 - OPACITY) * grey[:, None] + OPACITY * np.asarray(colour, float)
    return np.rint(mixed).astype(np.uint8)


def _draw_objects(
    picture: np.ndarray, objects: Sequence[Object], scale: int, label_size: int = LABEL_SIZE
) -> np.ndarray:
    """Tint and outline each object on an enlarged picture, and write its text on it."""
    picture = picture.copy()
    masks = [enlarge(np.asarray(mask, bool), scale) for mask, _, _ in objects]
    for mask, (_, colour, _) in zip(masks, objects, strict=True):
        picture[mask] = _blend(picture[mask], colour)
        picture[_outline(mask)] = colour
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    written: list[Box] = []
    for mask, (_, colour, text) in zip(masks, objects, strict=True):
        if mask.any():
            written.append(_write(draw, canvas.size, mask, colour, text, written, label_size))
    return np.asarray(canvas)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask within 2 pixels of its edge or of the picture's."""
    inside = mask
    for _ in range(2):
        padded = np.pad(inside, 1)
        inside = (
            inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        )
    return mask & ~inside


def _write(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    mask: np.ndarray,
    colour: Colour,
    text: str,
    written: Sequence[Box],
    label_size: int,
) -> Box:
    """Write a mask's text above its top left corner, or as near as it hides no other text.

    Returns the text's box; nothing is cut off by the picture's edges.
    """
    font = _font(label_size)
    left, top = np.flatnonzero(mask.any(0))[0], np.flatnonzero(mask.any(1))[0]
    width, height = int(font.getlength(text)) + 7, label_size + 5
    x = max(0, min(int(left), size[0] - width))
    y = max(0, min(int(top) - height, size[1] - height))
    below = range(y, size[1] - height + 1, height + 1)
    boxes = [(x, place, x + width - 1, place + height - 1) for place in below]
    box = next((b for b in boxes if not any(_overlap(b, other) for other in written)), boxes[0])
    dark = np.dot(colour, BRIGHTNESS) < 128
    draw.rectangle(box, fill=tuple(colour))
    draw.text(
        (x + 3, box[1] + height / 2),
        text,
        fill='white' if dark else 'black',
        font=font,
        anchor='lm',
    )
    return box


def _overlap(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
