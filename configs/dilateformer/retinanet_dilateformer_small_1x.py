# RetinaNet with DilateFormer-Small: 12 epochs of COCO at a short side of 800.
# DilateFormer's authors released no detection code: the protocol of the GLNet configs, that of
# BiFormer, is followed here. The drop path rate is a choice of this project.
# Train it: glmix train dilateformer/retinanet_dilateformer_small_1x --gpus 8
_base_ = [
    '../_base_/backbones/dilateformer_small.py',
    '../_base_/models/retinanet.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_1x.py',
    '../_base_/runtime_det.py',
]

model = dict(
    backbone=dict(**_base_.dilateformer, drop_path_rate=0.3),
    neck=dict(in_channels=_base_.dilateformer_channels[1:]),
)
