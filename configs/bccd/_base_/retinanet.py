# RetinaNet for cells of 20 to 95 px at 320 x 240, on a backbone that the config adds.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    './data.py',
    './schedule.py',
]

channels = 64
norm_cfg = dict(type='BN')  # trained: nothing is pretrained, and four images fill enough positions
model = dict(
    backbone=dict(_delete_=True, norm_eval=False, out_indices=(1, 2, 3)),
    neck=dict(out_channels=channels, start_level=0, num_outs=4, norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=len(_base_.classes),
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        # From 16 px: platelets are about 20 px.
        anchor_generator=dict(octave_base_scale=2, strides=[8, 16, 32, 64]),
    ),
)
