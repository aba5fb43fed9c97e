# DINO with GLNet-4G: 12 epochs of COCO at short sides of 480-800.
# GLNet's authors released no detection recipe, and no result of this pair is known: it is
# this project's choice, with mmdet's own recipe of DINO with ResNet-50.
# Train it: glmix train dino_glnet_4g_12e --gpus 8
_base_ = ['./_base_/backbones/glnet_4g.py', './_base_/recipes/dino_12e.py']

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.2),
    neck=dict(in_channels=_base_.glnet_channels[1:]),
)
