"""Detections as COCO's results, with the numbers that the data set gives images and categories."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement, InstanceData

from ..data.coco_checks import read_coco
from ..data.dataset_checks import build_unread
from ..data.paths import Place
from ..errors import UserError
from ..utils.nested import unwrap
from .drawing import panoptic_segments


class KnownIds(NamedTuple):
    """The numbers in a data set's annotation file.

    Attributes:
        images: by the real path of the image.
        categories: by name.
    """

    images: Mapping[str, int | str]
    categories: Mapping[str, int]


NO_IDS = KnownIds({}, {})


def known_ids(cfg: Config) -> KnownIds:
    """Return the numbers of a config's test set; none where it is not one COCO file that is there.

    A file that cannot be read is told on stderr.
    """
    settings = list(unwrap(cfg.test_dataloader.dataset))
    if len(settings) > 1:  # several files may give the same number to different images
        return NO_IDS
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        dataset = build_unread('test', settings[0])
    path = str(getattr(dataset, 'ann_file', ''))
    if not (path.endswith('.json') and os.path.isfile(path)):
        return NO_IDS
    try:
        content = read_coco(path, Place('test', dataset.data_root))
        folder = dataset.data_prefix.get('img') or ''
        names = {entry['file_name']: entry['id'] for entry in content['images']}
        images = {os.path.realpath(os.path.join(folder, name)): names[name] for name in names}
        return KnownIds(images, {entry['name']: entry['id'] for entry in content['categories']})
    except (UserError, KeyError, TypeError) as error:
        print(f'results are numbered from 1: {path}: {error}', file=sys.stderr)
        return NO_IDS


def category_numbers(classes: Sequence[str], categories: Mapping[str, int]) -> list[int]:
    """Return each class's number: its category's, or all classes' places from 1 if one has none."""
    if all(name in categories for name in classes):
        return [categories[name] for name in classes]
    return list(range(1, len(classes) + 1))


def objects_of(sample: BaseDataElement, num_classes: int) -> InstanceData:
    """Return what a detector found; of one that gives a panoptic map alone its segments, score 1.

    Args:
        sample: mmdet's, with predictions.
        num_classes: of the model.
    """
    from mmdet.structures.mask import mask2bbox

    if 'pred_instances' in sample:
        return sample.pred_instances
    segments = panoptic_segments(sample.pred_panoptic_seg, num_classes)
    masks, labels = torch.from_numpy(segments.masks), torch.from_numpy(segments.labels)
    scores = torch.ones(len(labels))
    return InstanceData(bboxes=mask2bbox(masks), scores=scores, labels=labels, masks=masks)


def coco_results(
    found: Mapping, image_id: int | str, numbers: Sequence[int], score_thr: float = 0.0
) -> list[dict]:
    """Return an image's detections as ``pycocotools`` loads results.

    Args:
        found: as :func:`objects_of` returns it: boxes (n, 4), x1, y1, x2, y2 in px, scores and
            labels (n); with masks also these, (n, H, W).
        image_id: of the image.
        numbers: each class's category, as :func:`category_numbers` returns them.
        score_thr: least score.

    Returns:
        A dict for each: ``image_id``, ``category_id``, ``score``, ``bbox`` (x, y, width, height in
        px) and ``area``. With masks also ``segmentation``, COCO's compressed run lengths.
    """
    from mmdet.structures.mask import encode_mask_results

    kept = (found['scores'] >= score_thr).nonzero().flatten()
    boxes, scores, labels = (found[key][kept].tolist() for key in ('bboxes', 'scores', 'labels'))
    results = [
        dict(
            image_id=image_id,
            category_id=numbers[label],
            score=score,
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
        )
        for (x1, y1, x2, y2), score, label in zip(boxes, scores, labels, strict=True)
    ]
    if 'masks' in found:
        masks = found['masks'][kept].cpu().numpy()
        for result, mask, code in zip(results, masks, encode_mask_results(masks), strict=True):
            result['segmentation'] = dict(code, counts=code['counts'].decode())
            result['area'] = int(mask.sum())
    return results
