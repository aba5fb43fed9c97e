# Shards gradients and the optimizer's state over the GPUs with PyTorch's FSDP. In a config:
#   _base_ = ['glmix_mm::maskrcnn_glnet_16g_3x.py', 'glmix_mm::_base_/strategies/fsdp.py']
# The checkpoints are whole, as those of a single process. docs/scale.md says what to mind.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    # The model is one unit: detectors call methods of their parts, past the wrapper of a part.
    model_wrapper=dict(type='MMFullyShardedDataParallel', sharding_strategy='SHARD_GRAD_OP'),
    state_dict_cfg='full',
)
