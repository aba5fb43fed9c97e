# AdamW, 100 iterations of warmup, then a cosine. What is scored and saved is an average of the
# weights, which reaches back further and further: at the end, about 150 iterations.
_base_ = '../../_base_/runtime_det.py'

iterations = 1200
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations // 8)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=100, end=iterations),
]
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=4e-3,
        gamma=200,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    ),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=iterations // 8, max_keep_ckpts=1
    ),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
