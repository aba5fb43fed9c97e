# Semantic FPN with GLNet-nano on the embedded demo set: `make demo TASK=semfpn` runs it.
# Everything is small, for a few minutes on two CPU cores.
_base_ = [
    './_base_/glnet_nano.py',
    '../_base_/models/semfpn.py',
    './_base_/ade20k.py',
    './_base_/schedule.py',
    '../_base_/runtime_seg.py',
]

channels, size, iterations = 64, (128, 128), 1500
norm_cfg = dict(type='BN')
data_preprocessor = dict(size=size)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=_base_.glnet,
    neck=dict(in_channels=_base_.glnet_channels, out_channels=channels, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[channels] * 4,
        channels=channels,
        num_classes=len(_base_.common.metainfo.classes),
        norm_cfg=norm_cfg,
        dropout_ratio=0,
        # Nine pixels in ten are ground, which would be all that is learned at first.
        loss_decode=dict(class_weight=[0.1, 1, 1, 1, 1, 1]),
    ),
)
train_pipeline, test_pipeline = (
    _base_[f'{split}_dataloader'].dataset.pipeline for split in ('train', 'val')
)
resize = dict(type='Resize', scale=size)
train_dataloader = dict(dataset=dict(pipeline=[*train_pipeline[:2], resize, *train_pipeline[2:]]))
val_dataloader = dict(dataset=dict(pipeline=[test_pipeline[0], resize, *test_pipeline[1:]]))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=iterations, val_interval=iterations // 3)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=150, end=iterations),
]
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=iterations),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
