# Mask R-CNN with FCViT-B24: 12 epochs of COCO at a short side of 800.
# The authors' settings: AdamW, learning rate 2e-4, weight decay 1e-4 on every parameter, batch 32,
# mixed precision, no drop path. Batch norms in eval mode are this project's, as in all its
# detectors; the rest is mmdet's.
# Train it: glmix train fcvit/maskrcnn_fcvit_b24_1x --gpus 8
_base_ = [
    '../_base_/backbones/fcvit_b24.py',
    '../_base_/models/mask_rcnn.py',
    '../_base_/datasets/coco_instance_batch32.py',
    '../_base_/schedules/mask_rcnn_1x_batch32.py',
    '../_base_/runtime_det.py',
]

model = dict(
    backbone=_base_.fcvit,
    neck=dict(in_channels=_base_.fcvit_channels),
)
