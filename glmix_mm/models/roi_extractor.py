"""A RoI extractor for mmdet whose boxes keep their precision under mixed precision.

Imported by the configs that need it (``custom_imports``), as it needs mmdet.
"""

from collections.abc import Sequence

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor``, computed in float32.

    mmdet's casts the boxes to the features' type. Under bfloat16, whose numbers around 1000 are
    4 apart, that moves their sides by a pixel on average.
    """

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pool each box from the map that suits its size.

        Args:
            feats: maps (N, C, h_i, w_i), the finest first.
            rois: image index and box in pixels, (R, 5).
            roi_scale_factor: enlarges the boxes before pooling.

        Returns:
            (R, C, height, width), float32.
        """
        return super().forward([feat.float() for feat in feats], rois, roi_scale_factor)
