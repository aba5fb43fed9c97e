"""Reads one file of Pascal VOC, YOLO or labelme: the objects of one image.

The package supervision reads boxes and classes. Corners of polygons are read here, as it keeps no
more of them than pixels, and VOC's ``difficult``, which it passes over. Each function tells what it
could not use, and returns the rest.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from ..errors import UserError
from .paths import read_lines

Tell = Callable[[str], object]  # takes what is wrong with the file
POLYGON = 7  # words of a line of YOLO: a class and three points


class Object(NamedTuple):
    """An object in an image.

    Attributes:
        name: of its class.
        corners: left, top, right and bottom in pixels.
        polygons: x and y of the corners of each in turn, in pixels; none where only a box is known.
        ignored: whether it is neither learned nor scored.
    """

    name: str
    corners: tuple[float, float, float, float]
    polygons: tuple[list[float], ...] = ()
    ignored: bool = False


def read_voc(path: Path, size: tuple[int, int], tell: Tell) -> list[Object]:
    """Read Pascal VOC's xml of an image of a size (width, height).

    Boxes of VOC count pixels from 1 and include the last one. What is ``difficult`` is ignored, as
    in VOC's scores.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj

    try:
        root = parse(path).getroot()
    except (ParseError, DefusedXmlException) as error:
        tell(f'cannot be read as XML ({error})')
        return []
    stated = root.findtext('size/width') or '0', root.findtext('size/height') or '0'
    if '0' in stated:
        tell(f'states no size; {size[0]} x {size[1]}, the size of its image, is used')
    elif stated != tuple(map(str, size)):
        tell(f'states {stated[0]} x {stated[1]}, but its image is {size[0]} x {size[1]}')
    objects = []
    for number, element in enumerate(root.findall('object'), 1):
        alone = Element('annotation')
        alone.append(element)
        try:
            found, names = detections_from_xml_obj(alone, [], size)
        except ValueError as error:
            tell(f'object {number}: {error}')
            continue
        corners = tuple(found.xyxy[0].tolist())
        objects.append(Object(names[0], corners, ignored=element.findtext('difficult') == '1'))
    return objects


def read_yolo(
    path: Path, size: tuple[int, int], tell: Tell, names: Mapping[int, str]
) -> list[Object]:
    """Read YOLO's text: boxes, or polygons, where each line of the file is one."""
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    try:
        lines = read_lines(str(path))
    except UserError as error:
        tell(str(error).removeprefix(f'{path}: '))
        return []
    are_polygons = any(len(line.split()) >= POLYGON for line in lines)
    objects = []
    for number, line in enumerate(lines, 1):
        values = line.split()
        if are_polygons and len(values) < POLYGON:
            tell(f'line {number}: {(len(values) - 1) // 2} points among polygons; needs three')
            continue
        try:
            found = yolo_annotations_to_detections([line], size, with_masks=False)
        except ValueError as error:
            tell(f'line {number}: {error}')
            continue
        label = int(found.class_id[0])
        if label not in names:
            tell(f'line {number}: class {label} has no name; there are {len(names)}')
            continue
        points = [float(v) * size[n % 2] for n, v in enumerate(values[1:])] if are_polygons else []
        polygons = (points[: len(points) // 2 * 2],) if points else ()
        objects.append(Object(names[label], tuple(found.xyxy[0].tolist()), polygons))
    return objects


def read_labelme(path: Path, size: tuple[int, int], tell: Tell) -> list[Object]:
    """Read labelme's json; shapes of one label and group are one object."""
    from supervision.dataset.formats.labelme import labelme_shapes_to_detections

    try:
        shapes = json.loads(path.read_text(encoding='utf-8'))['shapes']
    except (ValueError, KeyError, TypeError) as error:
        tell(f"cannot be read as labelme's json ({error!r})")
        return []
    groups: dict[object, list[dict]] = {}
    for number, shape in enumerate(shapes, 1):
        group = shape.get('group_id')
        key = number if group is None else (shape.get('label'), group)
        groups.setdefault(key, []).append(shape)
    objects = []
    for shapes in groups.values():
        name, kind = shapes[0].get('label'), shapes[0].get('shape_type')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of other shapes, told below
                found = labelme_shapes_to_detections(shapes, {name: 0}, size, with_masks=False)
        except (ValueError, TypeError) as error:
            tell(str(error))
            continue
        if not len(found):
            tell(f'a {kind} of {name!r} is left out; only rectangles and polygons are read')
            continue
        polygons = tuple(
            [float(number) for point in shape['points'] for number in point]
            for shape in shapes
            if shape['shape_type'] == 'polygon'
        )
        objects.append(Object(name, tuple(found.xyxy[0].tolist()), polygons))
    return objects
