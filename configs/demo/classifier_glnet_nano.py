# GLNet-nano as a classifier of the demo set's shapes, cut out of its images:
# `python tests/engine/pretraining_proof.py` makes them, trains it, and starts Mask R-CNN from it.
_base_ = [
    './_base_/glnet_nano.py',
    '../_base_/models/image_classifier.py',
    './_base_/shapes.py',
    './_base_/schedule.py',
    '../_base_/runtime_cls.py',
]

channels, iterations = _base_.glnet_channels[-1], 300
model = dict(
    backbone=_base_.glnet,
    neck=dict(in_channels=channels, norm='batch'),
    head=dict(
        in_channels=channels,
        num_classes=len(_base_.classes),
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
    ),
    train_cfg=None,
)
train_cfg = dict(max_iters=iterations, val_interval=iterations // 3)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=50, end=iterations, by_epoch=False),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=iterations, save_best=None),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
