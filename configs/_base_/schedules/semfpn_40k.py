# Semantic FPN: 40,000 iterations with AdamW, 32 images a batch (8 GPUs x 4), in mixed precision;
# the learning rate falls from the first iteration on, without a warmup.
_base_ = 'mmseg::_base_/schedules/schedule_40k.py'

optimizer = None  # mmseg's SGD; what is built stands in optim_wrapper
optim_wrapper = dict(
    _delete_=True,
    type='AutoAmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=40000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best='mIoU'))
auto_scale_lr = dict(enable=False, base_batch_size=32)
