"""Test-time augmentation for Mask R-CNN, which mmdet's own refuses.

Imported by the configs that need it (``custom_imports``), as it needs mmdet.
"""

import warnings
from collections.abc import Sequence

import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi, bbox_flip
from mmengine.structures import InstanceData
from torch import Tensor

FLIPPED_AXES = {'horizontal': (3,), 'vertical': (2,), 'diagonal': (2, 3)}


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """Mask R-CNN over several views of an image, as its paper's test-time augmentation does it.

    The boxes of all views, without masks, are merged as by mmdet's ``DetTTAModel``. The masks of
    the merged boxes are then predicted from the features of each view, turned back where the view
    is flipped, and their probabilities averaged.

    Args:
        tta_cfg: ``dict(nms=..., max_per_img=...)`` for the merged boxes.
        module: the detector, or its config.
    """

    @torch.no_grad()
    def test_step(self, data: dict) -> list[DetDataSample]:
        """Predict on a batch of images, each in several views.

        Args:
            data: 'inputs' and 'data_samples', for each view a list of one entry per image.

        Returns:
            One sample per image, with its merged boxes, their scores, labels and masks.
        """
        views = [
            dict(zip(data, entries, strict=True)) for entries in zip(*data.values(), strict=True)
        ]
        found = [self._find_boxes(view) for view in views]
        maps, samples = zip(*found, strict=True)
        metas = [[sample.metainfo for sample in view] for view in samples]
        merged = self.merge_preds(list(zip(*samples, strict=True)))
        instances = [sample.pred_instances for sample in merged]
        masks = [
            self._mask_probabilities(*view, [found.bboxes for found in instances])
            for view in zip(maps, metas, strict=True)
        ]
        self._add_masks(instances, torch.stack(masks).mean(0), metas[0])
        return merged

    def _find_boxes(self, view: dict) -> tuple[tuple[Tensor, ...], list[DetDataSample]]:
        """Return a view's maps, and its samples with boxes in the pixels of the original image."""
        model = self.module
        view = model.data_preprocessor(view, False)
        maps, samples = model.extract_feat(view['inputs']), view['data_samples']
        proposals = model.rpn_head.predict(maps, samples, rescale=False)
        metas = [sample.metainfo for sample in samples]
        boxes = model.roi_head.predict_bbox(
            maps, metas, proposals, model.roi_head.test_cfg, rescale=True
        )
        return maps, model.add_pred_to_datasample(samples, boxes)

    def _mask_probabilities(
        self, maps: Sequence[Tensor], metas: Sequence[dict], boxes: Sequence[Tensor]
    ) -> Tensor:
        """Return the probabilities (R, classes, m, m) of all images' boxes from one view's maps."""
        inside = [_into_view(own, meta) for own, meta in zip(boxes, metas, strict=True)]
        masks = self.module.roi_head._mask_forward(maps, bbox2roi(inside))['mask_preds'].sigmoid()
        parts = masks.split([len(own) for own in boxes])
        return torch.cat(
            [
                part.flip(FLIPPED_AXES[meta['flip_direction']]) if meta['flip'] else part
                for part, meta in zip(parts, metas, strict=True)
            ]
        )

    def _add_masks(
        self, instances: Sequence[InstanceData], masks: Tensor, metas: Sequence[dict]
    ) -> None:
        """Draw the masks into the original images, and add them to each image's instances."""
        roi_head = self.module.roi_head
        unscaled = [dict(ori_shape=meta['ori_shape'], scale_factor=(1.0, 1.0)) for meta in metas]
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='To copy construct from a tensor')
            roi_head.mask_head.predict_by_feat(
                masks.split([len(own) for own in instances]),
                results_list=instances,
                batch_img_metas=unscaled,
                rcnn_test_cfg=roi_head.test_cfg,
                activate_map=True,  # they are probabilities already
            )


def _into_view(boxes: Tensor, meta: dict) -> Tensor:
    """Return boxes (n, 4) of the original image where a view shows them."""
    if meta['flip']:
        boxes = bbox_flip(boxes, meta['ori_shape'], meta['flip_direction'])
    return boxes * boxes.new_tensor(meta['scale_factor']).repeat(2)
