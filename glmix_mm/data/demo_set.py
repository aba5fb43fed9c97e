"""The embedded demo set: made by code, in the official COCO and ADE20K layouts.

Images show textured backgrounds and objects of five shapes in random colours, so that the shape
has to be learned. The same seed gives the same files, bit for bit.

``ROOT/coco/`` contains ``train2017/``, ``val2017/`` and ``annotations/instances_*.json`` (masks as
exact run lengths). ``ROOT/ade/ADEChallengeData2016/`` contains the same images with label maps in
ADE20K's convention, for ``reduce_zero_label=True``: 0 is "other" (never used here), and label k is
class k - 1. The background is a class of its own, 'ground', so no pixel is ignored.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from .demo_scenes import MAX_OBJECTS, SHAPES, Thing, draw_scene

DEMO_CLASSES = SHAPES
# Okabe and Ito's palette (jfly.uni-koeln.de/color), which colour-blind readers can tell apart.
DEMO_PALETTE = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0))
DEMO_SEG_CLASSES = ('ground', *DEMO_CLASSES)
DEMO_SEG_PALETTE = ((120, 120, 120), *DEMO_PALETTE)

MARKER = 'demo.json'
VERSION = 1  # to be raised with any change of what is drawn
CROWD_IMAGE = 0  # index of the one image of each split that has a crowd region
EMPTY_IMAGES = (24, 1)  # every 24th image of a split, from index 1, has no objects


def write_demo_dataset(
    root: str | os.PathLike,
    num_train: int = 512,
    num_val: int = 48,
    image_size: int = 192,
    seed: int = 0,
) -> Path:
    """Write the demo set into ``root``, or reuse the one that is there.

    The set is made in a folder beside ``root`` and moved there when it is complete.

    Args:
        root: folder to make; it may exist if it is empty or contains the same set.
        num_train: number of training images.
        num_val: number of held-out images.
        image_size: side of the square images in pixels.
        seed: seed of all random numbers.

    Returns:
        ``root`` as an absolute path.

    Raises:
        UserError: ``root`` contains something else.
    """
    root = Path(root).absolute()
    settings = dict(
        version=VERSION, num_train=num_train, num_val=num_val, image_size=image_size, seed=seed
    )
    if _is_complete(root, settings):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f'.{root.name}-', dir=root.parent))
    try:
        _write_split(partial, 'train', num_train, image_size, (seed, 0), first_id=1)
        _write_split(partial, 'val', num_val, image_size, (seed, 1), first_id=num_train + 1)
        (partial / MARKER).write_text(json.dumps(settings) + '\n')
        partial.chmod(0o755)  # mkdtemp's folders are private
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _is_complete(root: Path, settings: dict) -> bool:
    """Tell whether ``root`` holds the set of these settings; refuse a folder of something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    marker = root / MARKER
    if not marker.is_file():
        raise UserError(
            f'{root} is not empty and is not a demo set (it has no {MARKER}); '
            'give a new or empty folder'
        )
    found = json.loads(marker.read_text(encoding='utf-8'))
    if found != settings:
        raise UserError(
            f'{root} holds a demo set of other settings ({found} instead of {settings}); '
            'delete it or give another folder'
        )
    return True


def _write_split(
    root: Path, split: str, count: int, size: int, seed: tuple[int, int], first_id: int
) -> None:
    """Write the images, the COCO json and the label maps of one split."""
    coco, ade = root / 'coco', root / 'ade' / 'ADEChallengeData2016'
    long_name = {'train': 'training', 'val': 'validation'}[split]
    folders = [coco / f'{split}2017', ade / 'images' / long_name, ade / 'annotations' / long_name]
    for folder in [*folders, coco / 'annotations']:
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        rng = np.random.Generator(np.random.PCG64([*seed, index]))
        every, start = EMPTY_IMAGES
        objects = 0 if index % every == start else int(rng.integers(1, MAX_OBJECTS + 1))
        image, things = draw_scene(rng, size, objects, crowd=index == CROWD_IMAGE)
        image_id = first_id + index
        name = f'{image_id:012d}.jpg'
        Image.fromarray(image).save(folders[0] / name, quality=90, subsampling=0)
        ade_name = f'ADE_{split}_{index + 1:08d}'
        shutil.copyfile(folders[0] / name, folders[1] / f'{ade_name}.jpg')
        Image.fromarray(_label_map(things, size)).save(folders[2] / f'{ade_name}.png')
        images.append(dict(id=image_id, file_name=name, height=size, width=size, license=1))
        # Ids are unique over both splits, as in COCO.
        annotations += [
            _annotation(thing, image_id, 100 * image_id + n) for n, thing in enumerate(things)
        ]
    document = dict(
        info=dict(description='demo set of glmix_mm', version=str(VERSION), year=2026),
        licenses=[dict(id=1, name='Apache-2.0', url='https://www.apache.org/licenses/LICENSE-2.0')],
        images=images,
        annotations=annotations,
        categories=[
            dict(id=i, name=name, supercategory='shape') for i, name in enumerate(DEMO_CLASSES, 1)
        ],
    )
    (coco / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(document))


def _label_map(things: list[Thing], size: int) -> np.ndarray:
    """Return ADE20K's label map: 1 is the ground, 2 the first shape; uint8 (size, size)."""
    labels = np.full((size, size), 1, np.uint8)
    for thing in things:
        labels[thing.mask] = 2 + thing.label
    return labels


def _annotation(thing: Thing, image_id: int, annotation_id: int) -> dict:
    """Return COCO's annotation of one thing; the box is x, y, width, height in pixels."""
    rows, columns = np.flatnonzero(thing.mask.any(1)), np.flatnonzero(thing.mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return dict(
        id=annotation_id,
        image_id=image_id,
        category_id=thing.label + 1,
        segmentation=dict(size=list(thing.mask.shape), counts=run_lengths(thing.mask)),
        area=int(thing.mask.sum()),
        bbox=[left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        iscrowd=int(thing.crowd),
    )


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed run lengths of a bool mask (H, W).

    Runs of zeros and ones alternate along the columns, from the first column on; the first run
    is of zeros and may have length 0.
    """
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths
