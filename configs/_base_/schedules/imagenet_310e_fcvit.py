# 310 epochs as FCViT's authors set them (README and the defaults of train.py): 1e-3 for 1024
# images per batch, 5 epochs of warmup from 1e-6, a cosine from epoch 0 on to 1e-6, changed once an
# epoch, then 10 epochs at that; no clipping, no average of the weights.
_base_ = './imagenet_300e.py'

train_cfg = dict(max_epochs=310)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=6),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, end=300),
]
