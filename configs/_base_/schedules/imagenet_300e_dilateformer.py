# 300 epochs as DilateFormer's authors set them (dist_train.sh and the defaults of main.py): a
# rate of 1e-3 for 512 images, 1024 images per batch, 10 epochs of warmup from 1e-6, a cosine from
# epoch 0 on to 1e-5, changed once an epoch, no clipping, and an average of the weights (decay
# 0.99996). Their 10 epochs of cooldown are not here: their loop ends before them, at epoch 300.
_base_ = './imagenet_300e.py'

optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, end=11),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, end=300),
]
custom_hooks = [
    dict(type='EMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL'),
]
