# Semantic FPN: 80,000 iterations with AdamW, 32 images per batch (8 GPUs x 4), in mixed precision.
# The cosine starts after the warmup. BiFormer's, with mmcv 1, runs from iteration 0, under the
# warmup: at most 1.1 % of the highest rate away from this.
_base_ = 'mmseg::_base_/schedules/schedule_80k.py'

optimizer = None  # replaces mmseg's SGD; optim_wrapper defines what is built
optim_wrapper = dict(
    _delete_=True,
    type='AutoAmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-8, begin=1000, end=80000, by_epoch=False),
]
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),  # a loss that is not finite stops the run
    checkpoint=dict(max_keep_ckpts=3, save_best='mIoU'),
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
