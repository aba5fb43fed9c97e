# RetinaNet with FCViT-B12: 12 epochs of COCO at a short side of 800.
# FCViT's authors released no RetinaNet: the protocol of the GLNet configs, that of BiFormer, is
# followed here, but without drop path, as in the authors' Mask R-CNN.
# Train it: glmix train fcvit/retinanet_fcvit_b12_1x --gpus 8
_base_ = [
    '../_base_/backbones/fcvit_b12.py',
    '../_base_/models/retinanet.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_1x.py',
    '../_base_/runtime_det.py',
]

model = dict(
    backbone=_base_.fcvit,
    neck=dict(in_channels=_base_.fcvit_channels[1:]),
)
