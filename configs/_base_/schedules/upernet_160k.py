# UperNet: 160,000 iterations with AdamW, 16 images per batch (8 GPUs x 2), in mixed precision. The
# decay starts after the warmup. BiFormer's, with mmcv 1, runs from iteration 0, under the warmup:
# at most 0.9 % of the highest rate away from this.
_base_ = 'mmseg::_base_/schedules/schedule_160k.py'

optimizer = None  # replaces mmseg's SGD; optim_wrapper defines what is built
optim_wrapper = dict(
    _delete_=True,
    type='AutoAmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=160000, by_epoch=False),
]
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),  # a loss that is not finite stops the run
    checkpoint=dict(max_keep_ckpts=3, save_best='mIoU'),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
