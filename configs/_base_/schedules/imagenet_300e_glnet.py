# 300 epochs as GLNet's authors set them: 2048 images per batch, 5 epochs of warmup, gradients
# clipped at a norm of 5, and an average of the weights (decay 0.9999), including the statistics of
# batch norms. The average is what is tested and saved.
# Their colour jitter of 0.4 is not here: timm leaves it out where there is RandAugment.
_base_ = './imagenet_300e.py'

optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=1e-5, begin=5, by_epoch=True, convert_to_iter_based=True
    ),
]
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL'),
]
auto_scale_lr = dict(base_batch_size=2048)
