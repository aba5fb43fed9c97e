# An average of the weights, which is what is scored and saved as the model, in any config:
#   _base_ = ['glmix_mm::maskrcnn_glnet_4g_1x.py', 'glmix_mm::_base_/finetune/ema.py']
#   custom_hooks = _base_.ema
# It reaches back about 1 / momentum = 5000 iterations; a shorter run needs a larger momentum.
ema = [dict(type='EMAHook', momentum=2e-4, update_buffers=True, priority='ABOVE_NORMAL')]
