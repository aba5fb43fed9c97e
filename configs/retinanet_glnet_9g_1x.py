# RetinaNet with GLNet-9G: 12 epochs of COCO at a short side of 800.
# GLNet's authors released no detection recipe; the nearest that is published is that of BiFormer,
# their previous backbone of the same stages, followed here.
# Train it: glmix train retinanet_glnet_9g_1x --gpus 8
_base_ = [
    './_base_/backbones/glnet_9g.py',
    './_base_/models/retinanet.py',
    'mmdet::_base_/datasets/coco_detection.py',
    './_base_/schedules/coco_1x.py',
    './_base_/runtime_det.py',
]

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.3),
    neck=dict(in_channels=_base_.glnet_channels[1:]),
)
