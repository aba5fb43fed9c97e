# What all ImageNet recipes share: AdamW, 1024 images per batch, 300 epochs, mixed precision. Norms,
# biases and other tensors of one dimension are not decayed; GLNet's `slot_scale` has none, so it
# is.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py'

optim_wrapper = dict(
    type='AutoAmpOptimWrapper', paramwise_cfg=dict(custom_keys=dict(_delete_=True))
)
