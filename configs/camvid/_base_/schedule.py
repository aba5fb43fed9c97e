# AdamW, 200 iterations of warmup, then a polynomial decay. What is scored and saved is an average
# of the weights, which reaches back further and further: at the end, about 700 iterations.
_base_ = '../../_base_/runtime_seg.py'

iterations = 7000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations // 7)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, by_epoch=False, begin=200, end=iterations),
]
custom_hooks = [
    # By frequency: pedestrians and bicyclists have 1 % of the pixels.
    dict(type='ClassWeightHook', power=0.5),
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=1e-3,
        gamma=10,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    ),
]
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),  # a loss that is not finite stops the run
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=iterations // 7,
        max_keep_ckpts=1,
        save_best='mIoU',
    ),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
