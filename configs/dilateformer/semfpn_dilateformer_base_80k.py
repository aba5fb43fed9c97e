# Semantic FPN with DilateFormer-Base: 80,000 iterations of ADE20K.
# DilateFormer's authors released no segmentation code: the protocol of the GLNet configs, that of
# BiFormer, is followed here. The drop path rate is a choice of this project.
# Train it: glmix train dilateformer/semfpn_dilateformer_base_80k --gpus 8
_base_ = [
    '../_base_/backbones/dilateformer_base.py',
    '../_base_/models/semfpn.py',
    '../_base_/datasets/ade20k_semfpn.py',
    '../_base_/schedules/semfpn_80k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(**_base_.dilateformer, drop_path_rate=0.4),
    neck=dict(in_channels=_base_.dilateformer_channels),
)
