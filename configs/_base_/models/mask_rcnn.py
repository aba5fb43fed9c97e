# Mask R-CNN with FPN on a backbone that the config adds; with test-time augmentation (--tta) over
# mmdet's three sizes of RetinaNet's, each as it is and flipped.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', 'mmdet::retinanet/retinanet_tta.py']

tta_model = dict(type='MaskTTAModel')

# 2 images per GPU are too few for batch statistics: batch norms keep ImageNet's.
model = dict(
    backbone=dict(_delete_=True, norm_eval=True),
    # Boxes keep their precision in mixed precision.
    roi_head=dict(
        bbox_roi_extractor=dict(type='Float32RoIExtractor'),
        mask_roi_extractor=dict(type='Float32RoIExtractor'),
    ),
)
