"""The cut-outs of a detection set: all its objects, each in its class and in its place."""

import json

import numpy as np
from PIL import Image

from glmix_mm.data.cutouts import write_cutouts


def test_objects_are_cut_out_into_their_classes(tmp_path):
    coco = tmp_path / 'coco'
    (coco / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (coco / f'{split}2017').mkdir()
        image = np.zeros((100, 80, 3), np.uint8)
        image[20:40, 30:50] = (255, 0, 0)  # square, 20 px
        image[60:90, 0:10] = (0, 0, 255)  # upright, at the left edge
        Image.fromarray(image).save(coco / f'{split}2017' / 'a.png')
        boxes = [(7, 1, [30, 20, 20, 20], 0), (8, 2, [0, 60, 10, 30], 0), (9, 1, [0, 0, 5, 5], 1)]
        content = dict(
            images=[dict(id=1, file_name='a.png')],
            categories=[dict(id=1, name='red'), dict(id=2, name='blue')],
            annotations=[
                dict(id=i, image_id=1, category_id=c, bbox=b, iscrowd=crowd)
                for i, c, b, crowd in boxes
            ],
        )
        (coco / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(content))

    counts = write_cutouts(coco, tmp_path / 'out', size=48, margin=0.1)
    assert counts == dict(train=2, val=2)
    written = sorted(str(p.relative_to(tmp_path / 'out')) for p in tmp_path.glob('out/*/*/*'))
    assert written == [
        'train/blue/8.png',
        'train/red/7.png',
        'val/blue/8.png',
        'val/red/7.png',
    ]
    red = np.asarray(Image.open(tmp_path / 'out' / 'train' / 'red' / '7.png'))
    assert red.shape == (48, 48, 3)
    # The object's 20 px stand in the middle of 24 px, twice enlarged.
    assert (red[6:-6, 6:-6, 0] > 200).all() and (red[:2] == 0).all() and (red[:, -2:] == 0).all()
    blue = np.asarray(Image.open(tmp_path / 'out' / 'train' / 'blue' / '8.png'))
    # 36 px around 30 x 10 px: 13 to 23 px from the left.
    assert (blue[8:-8, 20:28, 2] > 200).all() and (blue[:, :12] == 0).all()
