# Mask R-CNN with DilateFormer-Small: 36 epochs of COCO at short sides of 480-800.
# DilateFormer's authors released no detection code: the protocol of the GLNet configs, that of
# BiFormer, is followed here. BiFormer has no 3x config: the 3x schedule and its crops are
# UniFormer's, Swin's and mmdet's (*-ms-crop-3x). The drop path rate is a choice of this project.
# Train it: glmix train dilateformer/maskrcnn_dilateformer_small_3x --gpus 8
_base_ = [
    '../_base_/backbones/dilateformer_small.py',
    '../_base_/models/mask_rcnn.py',
    '../_base_/datasets/coco_instance_ms_crop.py',
    '../_base_/schedules/mask_rcnn_3x.py',
    '../_base_/runtime_det.py',
]

model = dict(
    backbone=dict(**_base_.dilateformer, drop_path_rate=0.3),
    neck=dict(in_channels=_base_.dilateformer_channels),
)
