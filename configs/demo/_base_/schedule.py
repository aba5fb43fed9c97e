# AdamW, 100 iterations of warmup, then a cosine; scores on the held-out images four times.
iterations = 1200
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations // 4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),  # 3 instead of 14 ms
    clip_grad=dict(max_norm=35.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=100, end=iterations, by_epoch=False),
]
