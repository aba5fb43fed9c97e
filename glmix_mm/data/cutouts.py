"""Makes a classification set of a detection set: its objects, cut out, a folder for each class."""

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SPLITS = ('train', 'val')


def write_cutouts(coco: Path, root: Path, size: int = 64, margin: float = 0.15) -> dict[str, int]:
    """Write every object of a set in COCO's layout as an image of its own; crowds are left out.

    Args:
        coco: folder with ``annotations/instances_{train,val}2017.json`` and their images.
        root: folder to make: ``{train,val}/CLASS/ANNOTATION_ID.png``.
        size: side of the square cut-outs in pixels.
        margin: width of the rim around an object, over its longer side.

    Returns:
        The number of objects of each split.
    """
    counts = {}
    for split in SPLITS:
        path = coco / 'annotations' / f'instances_{split}2017.json'
        content = json.loads(path.read_text(encoding='utf-8'))
        names = {category['id']: category['name'] for category in content['categories']}
        files = {image['id']: image['file_name'] for image in content['images']}
        objects = [entry for entry in content['annotations'] if not entry['iscrowd']]
        for entry in objects:
            folder = root / split / names[entry['category_id']]
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(coco / f'{split}2017' / files[entry['image_id']]) as image:
                cutout = image.crop(_square(entry['bbox'], margin))
            bilinear = Image.Resampling.BILINEAR
            cutout.resize((size, size), bilinear).save(folder / f'{entry["id"]}.png')
        counts[split] = len(objects)
    return counts


def _square(box: Sequence[float], margin: float) -> tuple[int, int, int, int]:
    """Return the square around a box (x, y, width, height), as left, top, right, bottom."""
    x, y, width, height = box
    half = (0.5 + margin) * max(width, height)
    left, top = x + width / 2 - half, y + height / 2 - half
    return tuple(round(edge) for edge in (left, top, left + 2 * half, top + 2 * half))
