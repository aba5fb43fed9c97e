"""tools/test.py --tta beside averaging by hand, on the demo set and, where there are any, on real
images.

By hand: each view is made by OpenCV, predicted alone by the plain model, and turned back as a
picture; the pictures are averaged.
"""

import json
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import InstanceData
from pycocotools import mask as run_lengths
from torch.nn import functional as F
from torchvision.ops import batched_nms

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.inference.test import main
from glmix_mm.models.build import build_model

REAL = os.environ.get('GLMIX_REAL_DATA')
NEEDS_IMAGES = pytest.mark.skipif(not REAL, reason='GLMIX_REAL_DATA names no folder')
SOURCES = ['demo', pytest.param('real', marks=[pytest.mark.real, NEEDS_IMAGES])]
HEADS = dict(det=('bbox_head', 'mask_head'), seg=('decode_head', 'auxiliary_head'))
SIDES = (64, 96)  # px, of the two sizes; each as it is and flipped
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


def views(kind):
    """Return a pipeline of both sizes, as they are and flipped."""
    flips = [dict(type='RandomFlip', prob=float(flipped)) for flipped in (0, 1)]
    resizes = [dict(type='Resize', scale=(side, side), keep_ratio=True) for side in SIDES]
    packing = dict(type='PackSegInputs')
    if kind == 'det':
        meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        packing = dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))
    steps = [resizes, flips, [dict(type='LoadAnnotations')], [packing]]
    return [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=steps)]


def prepare(kind, source, request, folder):
    """Return a model of random weights, written down as config and checkpoint, and its data: the
    demo set, or two real images."""
    cfg = load_config(
        request.getfixturevalue('nano_detector' if kind == 'det' else 'nano_segmentor')
    )
    if source == 'demo':
        root = request.getfixturevalue('demo_root')
    else:
        dataset, root = cfg.test_dataloader.dataset, REAL
        name = 'maskrcnn_glnet_4g_1x' if kind == 'det' else 'upernet_glnet_4g_160k'
        dataset.metainfo = None
        dataset.type = load_config(name).test_dataloader.dataset.type
        dataset.indices = 2
        parent = cfg.model.roi_head if kind == 'det' else cfg.model
        heads = [parent[name] for name in HEADS[kind]]
        for head in heads:
            head.num_classes = 150 if kind == 'seg' else 80
    cfg.tta_pipeline = views(kind)
    torch.manual_seed(1)
    model = revert_sync_batchnorm(build_model(cfg)).eval()
    last = model.roi_head.bbox_head.fc_cls if kind == 'det' else model.decode_head.conv_seg
    torch.nn.init.normal_(last.weight)  # so that classes differ clearly
    cfg.dump(folder / 'config.py')
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return model, root


def test(folder, root, out):
    files = [str(folder / name) for name in ('config.py', 'weights.pth')]
    options = ['--tta', '--data-root', root, '--work-dir', folder / 'work', '--out', folder / out]
    assert run(main, [*files, *map(str, options)]) == 0
    return folder / out


test.__test__ = False  # the tool, not a test


def make_view(path, side, flipped):
    """Return an image as the network takes it, (1, 3, h, w), its factors, and the image's size."""
    image = cv2.imread(str(path))
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = int(width * factor + 0.5), int(height * factor + 0.5)
    pixels = cv2.resize(image, size)[:, ::-1] if flipped else cv2.resize(image, size)
    pixels = (pixels[:, :, ::-1] - MEAN) / STD
    tensor = torch.tensor(pixels.transpose(2, 0, 1)[None].copy(), dtype=torch.float32)
    return tensor, (size[0] / width, size[1] / height), (height, width)


def all_views(path):
    return [(make_view(path, side, flipped), flipped) for side in SIDES for flipped in (0, 1)]


def mirror(boxes, width):
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


@torch.no_grad()
def merge_by_hand(model, path):
    """Return merged boxes, scores and labels, and the mean of the views' mask pictures."""
    found, kept_maps = [], []
    for (tensor, scale, size), flipped in all_views(path):
        sides = [-(-side // 32) * 32 for side in tensor.shape[2:]]
        meta = dict(img_shape=tuple(tensor.shape[2:]), ori_shape=size, scale_factor=scale)
        padded = F.pad(tensor, [0, sides[1] - tensor.shape[3], 0, sides[0] - tensor.shape[2]])
        (alone,) = model.predict(padded, [DetDataSample(metainfo=meta)])
        alone = alone.pred_instances
        boxes = mirror(alone.bboxes, size[1]) if flipped else alone.bboxes
        found.append((boxes, alone.scores, alone.labels))
        kept_maps.append((model.extract_feat(padded), meta, flipped))
    boxes, scores, labels = map(torch.cat, zip(*found, strict=True))
    kept = batched_nms(boxes, scores, labels, 0.5)[:100]
    pictures = []
    model.roi_head.test_cfg.mask_thr_binary = -1  # grey pictures, 0 to 255
    for maps, meta, flipped in kept_maps:
        seen = mirror(boxes[kept], meta['ori_shape'][1]) if flipped else boxes[kept]
        scaled = seen * torch.tensor(meta['scale_factor']).repeat(2)
        results = [InstanceData(bboxes=scaled, labels=labels[kept])]
        (result,) = model.roi_head.predict_mask(maps, [meta], results, rescale=True)
        picture = result.masks.float()
        pictures.append(picture.flip(2) if flipped else picture)
    return boxes[kept], scores[kept], labels[kept], torch.stack(pictures).mean(0)


def in_the_order_of(found, boxes, scores, labels, pictures):
    """Reorder what was merged by hand: nearly equal scores may be in another order."""
    keys = [
        torch.cat([b, 1000 * n[:, None], 1000 * s[:, None]], dim=1)
        for b, s, n in (
            (found['bboxes'], found['scores'], found['labels']),
            (boxes, scores, labels),
        )
    ]
    order = torch.cdist(*keys).argmin(1)
    assert order.sort().values.tolist() == list(range(len(boxes)))
    return boxes[order], scores[order], labels[order], pictures[order]


@pytest.mark.parametrize('source', SOURCES)
def test_mask_rcnn(source, request, tmp_path):
    model, root = prepare('det', source, request, tmp_path)
    predictions = pickle.loads(test(tmp_path, root, 'found.pkl').read_bytes())
    assert len(predictions) == (4 if source == 'demo' else 2)
    truth = Path(root) / 'coco' / 'annotations' / 'instances_val2017.json'
    images = {image['id']: image for image in json.loads(truth.read_text())['images']}
    doubtful = 0
    for prediction in predictions:
        path = Path(root) / 'coco' / 'val2017' / images[prediction['img_id']]['file_name']
        expected = merge_by_hand(model, path)
        found = prediction['pred_instances']
        assert 5 < len(found['labels']) == len(expected[2])
        boxes, scores, labels, pictures = in_the_order_of(found, *expected)
        torch.testing.assert_close(found['bboxes'], boxes, atol=0.01, rtol=0)  # px
        # The classifier's weights of about 1 enlarge what float32 rounds.
        torch.testing.assert_close(found['scores'], scores, atol=5e-4, rtol=0)
        assert torch.equal(found['labels'], labels)
        masks = torch.tensor(run_lengths.decode(found['masks'])).permute(2, 0, 1).bool()
        # The grey values are rounded down: up to 1 of 255 is lost.
        differ = masks != (pictures >= 127.5)
        close = (pictures - 127).abs() < 2
        assert not (differ & ~close).any()
        doubtful += close.float().mean() / len(predictions)
        assert masks.any() and not masks.all()
    assert doubtful < 0.2


@pytest.mark.parametrize('source', SOURCES)
@torch.no_grad()
def test_segmentation(source, request, tmp_path):
    model, root = prepare('seg', source, request, tmp_path)
    out = test(tmp_path, root, 'labels')
    folder = Path(root) / 'ade' / 'ADEChallengeData2016' / 'images' / 'validation'
    names = sorted(path.stem for path in out.iterdir())
    assert len(names) == (4 if source == 'demo' else 1)
    for name in names:
        mean = 0
        for (tensor, _, size), flipped in all_views(next(folder.glob(f'{name}.*'))):
            meta = dict(img_shape=tensor.shape[2:], ori_shape=size)
            logits = model.encode_decode(tensor, [meta])
            logits = F.interpolate(logits.flip(3) if flipped else logits, size, mode='bilinear')
            mean = mean + logits[0].softmax(0)
        found = cv2.imread(str(out / f'{name}.png'), cv2.IMREAD_UNCHANGED)
        assert len(np.unique(found)) > 1
        assert (found - 1 == mean.argmax(0).numpy()).mean() > 0.9999
