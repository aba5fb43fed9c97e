# Shards gradients and the optimizer's state over the GPUs with ColossalAI's ZeRO. In a config:
#   _base_ = ['glmix_mm::maskrcnn_glnet_16g_3x.py', 'glmix_mm::_base_/strategies/colossalai.py']
# It computes in float32. Not run here; docs/scale.md says what to mind.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='ColossalAIStrategy', plugin=dict(type='LowLevelZeroPlugin', stage=2, precision='fp32')
)
