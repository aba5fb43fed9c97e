# Learning rates that fall by a tenth from each block to the one before it, in any config:
#   _base_ = ['glmix_mm::maskrcnn_glnet_4g_1x.py', 'glmix_mm::_base_/finetune/layer_decay.py']
#   optim_wrapper = _base_.layer_decay
# In GLNet-4G, of 30 blocks, the stem's is then 0.04 of the heads'; of fewer blocks (12 in
# DilateFormer-Tiny and FCViT-B12), 0.75 gives as much.
layer_decay = dict(
    constructor='LayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
