# UperNet with DilateFormer-Base: 160,000 iterations of ADE20K.
# DilateFormer's authors released no segmentation code: the protocol of the GLNet configs, that of
# BiFormer, is followed here. The drop path rate is a choice of this project.
# Train it: glmix train dilateformer/upernet_dilateformer_base_160k --gpus 8
_base_ = [
    '../_base_/backbones/dilateformer_base.py',
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_upernet.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(**_base_.dilateformer, drop_path_rate=0.5),
    decode_head=dict(in_channels=_base_.dilateformer_channels),
    auxiliary_head=dict(in_channels=_base_.dilateformer_channels[2]),
)
