# Mask2Former with GLNet-4G: 50 epochs of COCO with large-scale jitter.
# GLNet's authors released no detection recipe, and no result of this pair is known: it is
# this project's choice, with mmdet's own recipe of Mask2Former with Swin-T.
# Train it: glmix train mask2former_glnet_4g_50e --gpus 8
_base_ = ['./_base_/backbones/glnet_4g.py', './_base_/recipes/mask2former_50e.py']

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.3),
    panoptic_head=dict(in_channels=_base_.glnet_channels),
)
