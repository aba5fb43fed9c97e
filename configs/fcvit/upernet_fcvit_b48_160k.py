# UperNet with FCViT-B48: 160,000 iterations of ADE20K.
# FCViT's authors released no UperNet: the protocol of the GLNet configs, that of BiFormer, is
# followed here, but without drop path, as in the authors' Semantic FPN.
# Train it: glmix train fcvit/upernet_fcvit_b48_160k --gpus 8
_base_ = [
    '../_base_/backbones/fcvit_b48.py',
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_upernet.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    backbone=_base_.fcvit,
    decode_head=dict(in_channels=_base_.fcvit_channels),
    auxiliary_head=dict(in_channels=_base_.fcvit_channels[2]),
)
