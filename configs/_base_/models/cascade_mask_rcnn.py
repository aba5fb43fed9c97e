# Cascade Mask R-CNN with FPN on a backbone that the config adds.
_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

# The box heads of the 3x results that Swin and later backbones publish: 4 convolutions with batch
# norm, 1 linear layer, GIoU loss on boxes of each class.
box_head = dict(
    type='ConvFCBBoxHead',
    num_shared_convs=4,
    num_shared_fcs=1,
    norm_cfg=dict(type='BN'),
    reg_class_agnostic=False,
    reg_decoded_bbox=True,
    loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
)
sync_bn = 'torch'  # those batch norms are synchronised across GPUs (in a distributed run only)

# 2 images per GPU are too few for batch statistics: the backbone's batch norms keep ImageNet's.
model = dict(
    backbone=dict(_delete_=True, norm_eval=True),
    # Boxes keep their precision in mixed precision.
    roi_head=dict(
        bbox_roi_extractor=dict(type='Float32RoIExtractor'),
        bbox_head=[{**stage, **box_head} for stage in _base_.model.roi_head.bbox_head],
        mask_roi_extractor=dict(type='Float32RoIExtractor'),
    ),
)
