"""Checks of the entries of a COCO file, each before mmdet and pycocotools take it on trust.

pycocotools reads masks in C: run lengths that do not fit their image may make it read and write
beyond its memory, and a polygon of huge coordinates exhausts it.
"""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from ..utils.image_files import MAX_PIXELS

LARGEST = 1e6  # px; no image is as wide
MIN_POLYGON = 6  # numbers: three points
# Of compressed run lengths: six bits a character from '0' on, five of them of the number.
FIRST, BITS, CONTINUES, NEGATIVE = 48, 5, 0x20, 0x10
MAX_CHARACTERS = 7  # of one number; more would not fit an image


def image_mistake(image: Mapping) -> str:
    """Return what is wrong with an entry of 'images', or ''."""
    name = image['file_name']
    if not isinstance(name, str) or not name or '\0' in name:
        return f'file_name {name!r} is not a file name'
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return f'file_name {name!r} has characters that no file name has'
    sides = (image['height'], image['width'])
    if not all(_is_whole(side) and side > 0 for side in sides):
        return f'height {sides[0]!r} and width {sides[1]!r} are not whole numbers above 0'
    if sides[0] * sides[1] > MAX_PIXELS:
        return f'height {sides[0]} x width {sides[1]} is more than {MAX_PIXELS:,} pixels'
    return id_mistake(image)


def id_mistake(entry: Mapping) -> str:
    """Return what is wrong with the id of any entry, or ''."""
    if isinstance(entry['id'], (int, str)) and not isinstance(entry['id'], bool):
        return ''
    return f'id {entry["id"]!r} is neither a whole number nor a string'


def box_mistake(entry: Mapping) -> str:
    """Return what is wrong with an annotation except for its mask, or ''."""
    box, area = entry['bbox'], entry['area']
    if not isinstance(box, list) or len(box) != 4 or not _are_finite(box):
        return f'bbox {_short(box)} is not four numbers (left, top, width and height in pixels)'
    if max(map(abs, box)) > LARGEST:
        return f'bbox {_short(box)} is larger than any image'
    if not _are_finite([area]):
        return f'area {_short(area)} is not a number'
    if entry.get('iscrowd', 0) not in (0, 1):
        return f'iscrowd {_short(entry["iscrowd"])} is neither 0 nor 1'
    return id_mistake(entry)


def mask_mistake(mask: object, image: Mapping) -> str:
    """Return what is wrong with an annotation's ``segmentation``, or ''.

    Polygons of too few points are not reported: training ignores them (:func:`is_pointless`).
    """
    height, width = image['height'], image['width']
    if isinstance(mask, Mapping):
        return _run_length_mistake(mask, height, width)
    if not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        return f'segmentation {_short(mask)} is neither a list of polygons nor run lengths'
    least = min(height, width)
    for polygon in mask:
        if not _are_finite(polygon):
            return f'polygon {_short(polygon)} is not a list of numbers'
        if not polygon or (min(polygon) >= -least and max(polygon) <= 2 * least):
            continue  # most polygons: within the bounds below, whichever number is x or y
        across, down = polygon[::2], polygon[1::2] or [0]
        # Some tools draw a little beyond the edge.
        if not (-width <= min(across) and max(across) <= 2 * width):
            return f'polygon {_short(polygon)} is far outside its image, {width} px wide'
        if not (-height <= min(down) and max(down) <= 2 * height):
            return f'polygon {_short(polygon)} is far outside its image, {height} px high'
    return ''


def is_pointless(mask: object) -> bool:
    """Tell whether a mask has no polygon of three points, so that training ignores it."""
    return isinstance(mask, list) and not any(
        len(polygon) >= MIN_POLYGON and len(polygon) % 2 == 0 for polygon in mask
    )


def mask_scoring_mistake(entry: Mapping) -> str:
    """Return why pycocotools could not read an annotation's mask to score against it, or ''."""
    mask = entry.get('segmentation')
    if isinstance(mask, list) and any(len(polygon) < MIN_POLYGON for polygon in mask):
        return 'has a polygon of fewer than three points, which pycocotools misreads; remove it'
    return ''


def _run_length_mistake(mask: Mapping, height: int, width: int) -> str:
    size, counts = mask.get('size'), mask.get('counts')
    if size != [height, width]:
        return f'run lengths are of size {_short(size)}, but the image of [{height}, {width}]'
    if isinstance(counts, str):
        lengths = run_lengths_of(counts)
    elif isinstance(counts, list) and all(_is_whole(count) for count in counts):
        lengths = counts
    else:
        lengths = None
    if lengths is None:
        return f'run lengths {_short(counts)} cannot be read'
    total = sum(lengths)
    if min(lengths, default=0) < 0:
        return f'run lengths {_short(counts)} have the negative length {min(lengths)}'
    if total != height * width:
        return f'run lengths sum up to {total} instead of {height} x {width} = {height * width}'
    return ''


def run_lengths_of(text: str) -> list[int] | None:
    """Decode COCO's compressed run lengths; None if they can't be."""
    codes = np.frombuffer(text.encode('utf-8', 'replace'), np.uint8).astype(np.int64) - FIRST
    if not codes.size or codes.min() < 0 or codes.max() > 2 * CONTINUES - 1:
        return None
    last = codes & CONTINUES == 0
    if not last[-1]:
        return None
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > MAX_CHARACTERS:
        return None
    shifts = BITS * (np.arange(codes.size) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & (CONTINUES - 1)) << shifts, starts)
    values -= np.where(codes[ends] & NEGATIVE, 1 << (BITS * lengths), 0)
    # From the fourth on, numbers are differences to the last but one.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values.tolist()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_finite(values: Sequence) -> bool:
    """Tell whether all entries are numbers, none of them infinite; in one pass in C."""
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f'{text[:limit]}...'
