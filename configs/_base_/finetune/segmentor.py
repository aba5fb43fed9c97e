# Fine-tunes Semantic FPN on 20 to 2,000 images with label maps, from GLNet-4G's ImageNet weights:
#   glmix train _base_/finetune/segmentor --data-root DIR --classes-from-data
_base_ = ['../../semfpn_glnet_4g_80k.py', './small.py']

train_cfg, param_scheduler = _base_.small.train_cfg, _base_.small.param_scheduler
train_dataloader, optim_wrapper = _base_.small.train_dataloader, _base_.small.optim_wrapper
default_hooks, log_processor = _base_.small.default_hooks, _base_.small.log_processor
auto_scale_lr = _base_.small.auto_scale_lr
