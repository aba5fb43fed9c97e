# RetinaNet with GLNet-16G: 36 epochs of COCO at short sides of 480-800.
# GLNet's authors released no detection recipe; the nearest that is published is that of BiFormer,
# their previous backbone of the same stages, followed here. BiFormer has no 3x config: the 3x
# schedule and the drop path rate are choices of this project, without the crops of the other 3x
# configs.
# Train it: glmix train retinanet_glnet_16g_3x --gpus 8
_base_ = [
    './_base_/backbones/glnet_16g.py',
    './_base_/models/retinanet.py',
    './_base_/datasets/coco_detection_ms.py',
    './_base_/schedules/coco_3x.py',
    './_base_/runtime_det.py',
]

model = dict(
    backbone=dict(**_base_.glnet, drop_path_rate=0.4),
    neck=dict(in_channels=_base_.glnet_channels[1:]),
)
