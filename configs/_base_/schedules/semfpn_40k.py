# Semantic FPN as the 80k schedule trains it, for 40,000 iterations; the learning rate falls from
# the first iteration on, without a warmup.
_base_ = './semfpn_80k.py'

train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=40000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=4000))
