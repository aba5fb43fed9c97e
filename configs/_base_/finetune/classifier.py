# Fine-tunes GLNet-4G's ImageNet classifier on a folder of class folders of your own:
#   glmix train _base_/finetune/classifier --data-root DIR --classes-from-data
# or, in a config of your own, _base_ = 'glmix_mm::_base_/finetune/classifier.py'.
# This project's choice for small datasets, not a published recipe. Unlike the recipe from
# scratch: 30 epochs instead of 300, 32 images per batch, a learning rate of 1e-4, no mixed images,
# and no average of the weights, which would cover more than the whole run of a small dataset.
_base_ = '../../imagenet/glnet_4g.py'

load_from = 'glmix://glnet_4g'  # all but the last layer, whose classes are others
epochs, warmup = 30, 2
model = dict(train_cfg=None)
train_dataloader = dict(
    batch_size=32, sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True)
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=warmup,
        end=epochs,
        T_max=epochs - warmup,
        convert_to_iter_based=True,
    ),
]
custom_hooks = []
auto_scale_lr = dict(base_batch_size=32)
