# A short run for 20 to 2,000 images on one GPU: detector, instances and segmentor beside this file
# take it. Another config takes it up in the same way:
#   _base_ = ['glmix_mm::maskrcnn_glnet_4g_1x.py', 'glmix_mm::_base_/finetune/small.py']
#   train_cfg, param_scheduler = _base_.small.train_cfg, _base_.small.param_scheduler
#   train_dataloader, optim_wrapper = _base_.small.train_dataloader, _base_.small.optim_wrapper
#   default_hooks, log_processor = _base_.small.default_hooks, _base_.small.log_processor
#   auto_scale_lr = _base_.small.auto_scale_lr
# 2,000 iterations of 4 images, however many there are; the numbers are a choice, no one's recipe.
small = dict(
    train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2000, val_interval=200),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=100, end=2000),
    ],
    train_dataloader=dict(
        batch_size=4, sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True)
    ),
    optim_wrapper=dict(optimizer=dict(lr=5e-5)),
    default_hooks=dict(
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=200, max_keep_ckpts=2),
        logger=dict(type='LoggerHook', interval=20),
    ),
    log_processor=dict(by_epoch=False),
    auto_scale_lr=dict(base_batch_size=4),
)
