# Semantic FPN with GLNet-9G: 80,000 iterations of ADE20K.
# GLNet's authors released no segmentation recipe; the nearest that is published is that of
# BiFormer, their previous backbone of the same stages, followed here.
# Train it: glmix train semfpn_glnet_9g_80k --gpus 8
_base_ = [
    './_base_/backbones/glnet_9g.py',
    './_base_/models/semfpn.py',
    './_base_/datasets/ade20k_semfpn.py',
    './_base_/schedules/semfpn_80k.py',
    './_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.3),
    neck=dict(in_channels=_base_.glnet_channels),
)
