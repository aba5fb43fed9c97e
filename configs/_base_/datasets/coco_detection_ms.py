# COCO with multi-scale training: mmdet's own pipeline except for its third step, the resizing.
_base_ = ['mmdet::_base_/datasets/coco_detection.py', './multiscale.py']

train_pipeline = [
    *_base_.train_pipeline[:2],
    _base_.multiscale_resize,
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
