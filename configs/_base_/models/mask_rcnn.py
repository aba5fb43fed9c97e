# Mask R-CNN with FPN on a backbone that the config adds.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

# 2 images a GPU are too few for batch statistics: batch norms keep ImageNet's.
model = dict(
    backbone=dict(_delete_=True, norm_eval=True),
    # Boxes keep their precision in mixed precision.
    roi_head=dict(
        bbox_roi_extractor=dict(type='Float32RoIExtractor'),
        mask_roi_extractor=dict(type='Float32RoIExtractor'),
    ),
)
