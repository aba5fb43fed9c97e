# 310 epochs as GLNet's authors set them for token labeling: 2048 images per batch, 5 epochs of
# warmup from 1e-6, a cosine to 1e-5 until epoch 300, 10 epochs more at that; gradients clipped at
# a norm of 5, no decay of `slot_scale` (timm decays nothing of fewer than two dimensions), no
# average of the weights.
_base_ = './imagenet_300e.py'

optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    clip_grad=dict(max_norm=5.0),
    # A scalar, which is not flat (one-dimensional) to mmengine.
    paramwise_cfg=dict(custom_keys=dict(slot_scale=dict(decay_mult=0.0))),
)
train_cfg = dict(max_epochs=310)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=5,
        end=300,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=2048)
