# UperNet with GLNet-16G: 160,000 iterations of ADE20K.
# GLNet's authors released no segmentation recipe; the nearest that is published is that of
# BiFormer, their previous backbone of the same stages, followed here. The drop path rate is a
# choice of this project.
# Train it: glmix train upernet_glnet_16g_160k --gpus 8
_base_ = [
    './_base_/backbones/glnet_16g.py',
    './_base_/models/upernet.py',
    './_base_/datasets/ade20k_upernet.py',
    './_base_/schedules/upernet_160k.py',
    './_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.5),
    decode_head=dict(in_channels=_base_.glnet_channels),
    auxiliary_head=dict(in_channels=_base_.glnet_channels[2]),
)
