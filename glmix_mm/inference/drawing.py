"""Pictures of predictions beside the ground truth, and a sheet that shows several of them."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image, ImageDraw

from ..errors import UserError
from ..utils.atomic_files import write_atomically
from ..utils.palette import distinct_colours, distinct_neighbours
from .fonts import font_for

OPACITY = 0.6
LINE = 2  # pixels
SMALL = 12  # an object's area in squares of its text's size
BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # luma of RGB, ITU-R BT.601
IGNORED_COLOUR = (70, 70, 70)
COLUMNS = ('image', 'ground truth', 'prediction')
LEGEND_SIZE, TITLE_SIZE, LABEL_SIZE = 18, 22, 12  # text sizes in pixels
SMALLEST_LABEL = 8
LABELS_HIGH = 50  # of a large picture, in labels
CROWDED = 0.2  # share of a picture, in texts of square letters, from which texts are smaller
MARGIN = 14  # pixels
ONE_LINE = LEGEND_SIZE + 2 * MARGIN  # height of a legend

Colour = tuple[int, int, int]
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
    palette, classes = [*palette, IGNORED_COLOUR], [*classes, 'crowd']
    truth = _enlarged(gt, scale)
    if ignored is not None:
        crowds = _enlarged(ignored, scale)
        crowds.labels = np.full(len(crowds.masks), len(classes) - 1)
        truth = InstanceData.cat([truth, crowds])
    found = _enlarged(pred, scale)
    found.scores = _array(pred.scores)
    return (
        plain,
        draw_found(plain, truth, classes, palette=palette),
        draw_found(plain, found, classes, score_thr, palette),
    )


def _enlarged(objects: InstanceData, scale: int) -> InstanceData:
    masks = enlarge(_array(objects.masks).transpose(1, 2, 0), scale).transpose(2, 0, 1)
    return InstanceData(labels=_array(objects.labels), masks=masks)


def draw_sample(
    image: np.ndarray,
    sample: BaseDataElement,
    meta: Mapping,
    score_thr: float = 0.3,
    with_truth: bool = False,
    is_frame: bool = False,
) -> np.ndarray:
    """Draw what a model of mmdet, mmseg or mmpretrain predicts: objects, a label map, or a class.

    Args:
        image: RGB, uint8 (H, W, 3).
        sample: with its predictions.
        meta: names of the ``classes``; perhaps a ``palette``, an RGB colour for each.
        score_thr: least score of a detection.
        with_truth: whether the truth is drawn to the left, if the sample has it.
        is_frame: whether the picture is a frame of a video: objects then have their class's
            colour, which stays from frame to frame, and there is no legend.

    Returns:
        RGB, uint8. Of a label map or a class, a legend stands below.
    """
    classes, palette = meta['classes'], meta.get('palette')
    if not palette or isinstance(palette, str) or len(palette) < len(classes):
        palette = distinct_colours(len(classes))
    if 'pred_label' in sample:
        return _name_class(image, sample, classes, palette)
    if 'pred_panoptic_seg' in sample:
        return draw_found(image, panoptic_segments(sample.pred_panoptic_seg, len(classes)), classes)
    kind = 'sem_seg' if 'pred_sem_seg' in sample else 'instances'
    parts = [f'gt_{kind}'] if with_truth and f'gt_{kind}' in sample else []
    found = [sample.get(name) for name in (*parts, f'pred_{kind}')]
    if kind == 'instances':
        colours = palette if is_frame else None
        return np.hstack([draw_found(image, part, classes, score_thr, colours) for part in found])
    # With one output for two classes, mmseg's are floats.
    maps = [_array(part.data).squeeze(0).astype(np.int64) for part in found]
    picture = np.hstack([draw_labels(image, labels, palette) for labels in maps])
    if is_frame:
        return picture
    present = [label for label in np.unique(maps) if 0 <= label < len(classes)]
    names, colours = ([values[i] for i in present] for values in (classes, palette))
    return add_legend(picture, names, colours) if present else picture


def panoptic_segments(panoptic: PixelData, num_classes: int) -> InstanceData:
    """Return the segments of mmdet's panoptic map: labels (n) and masks (n, H, W), numpy's."""
    from mmdet.evaluation.functional import INSTANCE_OFFSET

    segments = _array(panoptic.sem_seg)[0]
    found = np.unique(segments)
    found = found[found % INSTANCE_OFFSET < num_classes]  # the last number is of no class
    return InstanceData(labels=found % INSTANCE_OFFSET, masks=segments == found[:, None, None])


def _name_class(
    image: np.ndarray, sample: BaseDataElement, classes: Sequence[str], palette: Sequence[Colour]
) -> np.ndarray:
    """Write below an image which class is predicted, its score, and the truth if it is known."""
    lines, colours = [], []
    for label in sample.pred_label.tolist():
        lines.append(f'prediction: {classes[label]} {float(sample.pred_score[label]):.2f}')
        colours.append(palette[label])
    for label in sample.gt_label.tolist() if 'gt_label' in sample else ():
        lines.append(f'truth: {classes[label]}')
        colours.append(palette[label])
    return add_legend(image, lines, colours)


def draw_found(
    image: np.ndarray,
    found: InstanceData,
    classes: Sequence[str],
    score_thr: float = 0.3,
    palette: Sequence[Colour] | None = None,
) -> np.ndarray:
    """Draw objects on an image: their masks or else their boxes, names and scores.

    Args:
        image: RGB, uint8 (H, W, 3).
        found: ``labels``, and ``masks`` (N, H, W) or ``bboxes`` (N, 4); ``scores`` where they are
            predicted.
        classes: names of the classes.
        score_thr: objects of a lower score are left out.
        palette: an RGB colour for each class; by default each object has a colour of its own, or
            one that is not its neighbours'.

    Returns:
        RGB, uint8 (H, W, 3). The objects with the highest scores are on top. Names are at their
        object and do not overlap where there is room.
    """
    labels = _array(found.labels)
    scores = _array(found.scores) if 'scores' in found else np.ones(len(labels))
    shown = [i for i in np.argsort(-scores, kind='stable') if scores[i] >= score_thr]
    if 'masks' in found:
        masks = _array(found.masks).astype(bool)
        shown = [i for i in shown if masks[i].any()]
        shapes, boxes = masks[shown], np.array([_box_of(masks[i]) for i in shown]).reshape(-1, 4)
    else:
        shapes = boxes = _array(found.bboxes)[shown]
    names = [classes[labels[i]] for i in shown]
    if 'scores' in found:
        names = [f'{name} {scores[i]:.2f}' for name, i in zip(names, shown, strict=True)]
    colours = [palette[labels[i]] for i in shown] if palette else distinct_neighbours(boxes)
    side = min(image.shape[:2])
    label_size = max(SMALLEST_LABEL, min(LABEL_SIZE, side // 16), side // LABELS_HIGH)
    longest = max(map(len, names), default=0)
    while label_size > SMALLEST_LABEL and len(names) * longest * label_size**2 > CROWDED * side**2:
        label_size -= 1
    return _draw_objects(image, shapes, boxes, colours, names, label_size)


def draw_segmentation(
    image: np.ndarray,
    gt: np.ndarray,
    pred: np.ndarray,
    palette: Sequence[Colour],
    scale: int = 2,
) -> Row:
    """Draw the true and the predicted label map of an image.

    Args:
        image: RGB, uint8 (H, W, 3).
        gt: label map, integers (H, W).
        pred: the same.
        palette: an RGB colour for each class.
        scale: whole factor by which the picture is enlarged.

    Returns:
        As :func:`draw_detection`.
    """
    plain = enlarge(image, scale)
    maps = (enlarge(_array(labels), scale) for labels in (gt, pred))
    return plain, *(draw_labels(plain, labels, palette) for labels in maps)


def draw_labels(image: np.ndarray, labels: np.ndarray, palette: Sequence[Colour]) -> np.ndarray:
    """Tint an image, RGB, uint8 (H, W, 3), by a label map, integers (H, W).

    Pixels whose label is no class's, as those that are not scored, stay as they are.
    """
    known = (labels >= 0) & (labels < len(palette))
    picture = image.copy()
    picture[known] = _blend(image[known], np.asarray(palette, np.uint8)[labels[known]])
    return picture


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
        raise UserError(f'{path}: there is no image to draw; no image of the data set has objects')
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
                draw.text(
                    centre, title, fill='black', font=font_for(title, TITLE_SIZE), anchor='ma'
                )
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
    longest = max(int(font_for(name, LEGEND_SIZE).getlength(name)) for name in classes)
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
        draw.text(corner, name, fill='black', font=font_for(name, LEGEND_SIZE), anchor='lm')


def _legend_places(classes: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Return where each entry of the legend stands, in as many lines as the width asks for."""
    places, x, y = [], MARGIN, 0
    for name in classes:
        length = int(font_for(name, LEGEND_SIZE).getlength(name)) + LEGEND_SIZE + 2 * MARGIN
        if x > MARGIN and x + length > width:
            x, y = MARGIN, y + LEGEND_SIZE + MARGIN // 2
        places.append((x, y))
        x += length
    return places


def _offsets(rows: Sequence[Row], top: int) -> list[int]:
    heights = [row[0].shape[0] + MARGIN for row in rows]
    return [top + sum(heights[:i]) for i in range(len(rows))]


def _array(values) -> np.ndarray:
    """Return a numpy array of a tensor, of mmdet's masks, or of what is one already."""
    if hasattr(values, 'to_ndarray'):
        return values.to_ndarray()
    return values.cpu().numpy() if hasattr(values, 'cpu') else np.asarray(values)


def _blend(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Tint RGB pixels (N, 3); only their brightness shows through, so colours stay clear."""
    grey = pixels.astype(float) @ BRIGHTNESS
    mixed = (1 - OPACITY) * grey[:, None] + OPACITY * np.asarray(colour, float)
    return np.rint(mixed).astype(np.uint8)


def _draw_objects(
    picture: np.ndarray,
    shapes: np.ndarray,
    boxes: np.ndarray,
    colours: Sequence[Colour],
    texts: Sequence[str],
    label_size: int,
) -> np.ndarray:
    """Draw objects, the first on top, and write their texts.

    Args:
        picture: RGB, uint8 (H, W, 3).
        shapes: masks, bool (N, H, W), that are tinted and outlined; or ``boxes``.
        boxes: (N, 4).
        colours: RGB, N.
        texts: N.
        label_size: of the texts, pixels.
    """
    picture = picture.copy()
    if shapes.ndim == 3:
        for mask, colour in reversed(list(zip(shapes, colours, strict=True))):
            picture[mask] = _blend(picture[mask], colour)
            picture[_outline(mask)] = colour
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    edges = [_inside(box, canvas.size) for box in boxes]
    if shapes.ndim == 2:
        for edge, colour in reversed(list(zip(edges, colours, strict=True))):
            draw.rectangle(edge, outline=tuple(colour), width=LINE)
    areas = [(right - left + 1) * (bottom - top + 1) for left, top, right, bottom in edges]
    small = [edge for edge, area in zip(edges, areas, strict=True) if area < SMALL * label_size**2]
    written: list[Box] = []
    for edge, colour, text in zip(edges, colours, texts, strict=True):
        # A hidden text cannot be read; a small object that is hidden has its text there.
        hidden = [*written, *written, *small]
        written.append(_write(draw, canvas.size, edge, colour, text, hidden, label_size))
    return np.asarray(canvas)


def _inside(box: np.ndarray, size: tuple[int, int]) -> Box:
    """Return the pixels at a box's corners, in the picture (width, height)."""
    limits = np.array(size) - 1
    corners = np.rint(np.asarray(box, float)).astype(int).reshape(2, 2)
    low = corners[0].clip(0, limits)
    return (*low.tolist(), *(corners[1] - 1).clip(low, limits).tolist())


def _box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


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
    edge: Box,
    colour: Colour,
    text: str,
    others: Sequence[Box],
    label_size: int,
) -> Box:
    """Write an object's text where it touches its box and hides the least of others.

    Returns the text's box; nothing is cut off by the picture's edges.
    """
    font = font_for(text, label_size)
    width, height = int(font.getlength(text)) + 7, label_size + 4
    left, top, right, bottom = edge
    places = [
        (x, y)
        for y in (top - height, bottom + 1, top, bottom - height + 1, (top + bottom - height) // 2)
        for x in (left, right - width + 1, (left + right - width) // 2, left - width, right + 1)
    ]
    boxes = []
    for x, y in places:
        x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        boxes.append((x, y, x + width - 1, y + height - 1))
    box = boxes[int(_shared(boxes, others).sum(1).argmin())]
    dark = np.dot(colour, BRIGHTNESS) < 128
    draw.rectangle(box, fill=tuple(colour))
    draw.text(
        (box[0] + 3, box[1] + height / 2),
        text,
        fill='white' if dark else 'black',
        font=font,
        anchor='lm',
    )
    return box


def _shared(boxes: Sequence[Box], others: Sequence[Box]) -> np.ndarray:
    """Return how many pixels each box shares with each of the others."""
    one, other = (np.reshape(np.array(group, int), (-1, 4)) for group in (boxes, others))
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, 2:], other[:, 2:])
    return (high - low + 1).clip(min=0).prod(2)
