"""Made-up annotations for a training step of a whole model: as many as a COCO image has."""

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from ..errors import UserError

OBJECTS = 7  # of an image: COCO's train2017 has 7.3
DETECTORS = ('bbox_head', 'roi_head', 'mask_head', 'panoptic_head')  # a detector has one of these
LABEL = 0  # the only class: what a loss costs does not depend on it


def make_samples(images: Tensor) -> list[BaseDataElement]:
    """Return what inference takes along with images (N, 3, H, W): their sizes."""
    size = tuple(images.shape[2:])
    meta = dict(
        img_shape=size,
        batch_input_shape=size,
        pad_shape=size,
        ori_shape=size,
        scale_factor=(1.0, 1.0),
    )
    return [BaseDataElement(metainfo=meta) for _ in images]


def make_targets(model: BaseModel, images: Tensor, objects: int = OBJECTS) -> list[BaseDataElement]:
    """Return annotations for a training step of a detector, a segmentor or a classifier.

    Args:
        model: the whole model.
        images: (N, 3, H, W), on the model's device.
        objects: number of objects in an image.

    Raises:
        UserError: the model is none of the three.
    """
    samples = make_samples(images)
    for sample in samples:
        if hasattr(model, 'decode_head'):
            labels = torch.full((1, *images.shape[2:]), LABEL, device=images.device)
            sample.gt_sem_seg = PixelData(data=labels)
        elif any(hasattr(model, name) for name in DETECTORS):
            sample.gt_instances = _objects(images, objects, _takes_masks(model))
        elif hasattr(model, 'head'):
            sample.gt_label = torch.tensor([LABEL], device=images.device)
        else:
            raise UserError(
                f'{type(model).__name__}: no annotations are known for its training step; '
                'detectors, segmentors and classifiers have them'
            )
    return samples


def _takes_masks(model: BaseModel) -> bool:
    """Return whether a detector learns masks; some that don't stop at masks (RTMDet)."""
    parts = (hasattr(part, 'loss_mask') for part in model.modules())
    return getattr(model, 'with_mask', False) or any(parts)


def _objects(images: Tensor, number: int, with_masks: bool) -> InstanceData:
    """Return boxes from a tenth to half of the image's size, filled by their masks."""
    from mmdet.structures.mask import BitmapMasks

    height, width = images.shape[2:]
    share = torch.linspace(0.1, 0.5, number)
    low = torch.stack([share * width, share * height], 1) * 0.5
    boxes = torch.cat([low, low + 2 * low], 1)  # x1, y1, x2, y2
    objects = InstanceData(
        bboxes=boxes.to(images.device),
        labels=torch.full((number,), LABEL, device=images.device),
    )
    if with_masks:
        masks = np.zeros((number, height, width), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        objects.masks = BitmapMasks(masks, height, width)
    return objects
