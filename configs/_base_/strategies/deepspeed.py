# Shards gradients and the optimizer's state over the GPUs with DeepSpeed's ZeRO. In a config:
#   _base_ = ['glmix_mm::maskrcnn_glnet_16g_3x.py', 'glmix_mm::_base_/strategies/deepspeed.py']
# It computes in float32. Not run here; docs/scale.md says what to mind.
runner_type = 'FlexibleRunner'
strategy = dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=2))
