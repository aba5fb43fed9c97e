# RTMDet with GLNet-4G: 100 epochs of COCO at 640 x 640.
# GLNet's authors released no detection recipe, and no result of this pair is known: it is
# this project's choice, with mmdet's own recipe of RTMDet-L with Swin-B.
# Train it: glmix train rtmdet_glnet_4g_100e --gpus 8
_base_ = ['./_base_/backbones/glnet_4g.py', './_base_/recipes/rtmdet_100e.py']

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.2),
    neck=dict(in_channels=_base_.glnet_channels[1:]),
)
