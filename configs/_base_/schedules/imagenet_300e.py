# 300 epochs of ImageNet with AdamW, 1024 images a batch, 20 epochs of warmup, then a cosine, in
# mixed precision. Norms, biases and scales are not decayed.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py'

optim_wrapper = dict(
    type='AutoAmpOptimWrapper',
    clip_grad=dict(max_norm=5.0),
    # A scalar, which is not flat (one-dimensional) to mmengine.
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, slot_scale=dict(decay_mult=0.0))),
)
