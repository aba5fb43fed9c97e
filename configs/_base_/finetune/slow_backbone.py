# The backbone learns at a tenth of the heads' rate, and norms do not decay, in any config:
#   _base_ = ['glmix_mm::mask2former_glnet_4g_50e.py', 'glmix_mm::_base_/finetune/slow_backbone.py']
#   optim_wrapper = _base_.slow_backbone
# mmengine takes the longest key that a parameter's name holds, and then ignores norm_decay_mult:
# with the first key alone, the backbone's norms would decay. Hence the others, which name the norms
# of the outputs, of the blocks and of the embeddings (of all variants but GLNet-STL).
slow_backbone = dict(
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'backbone.norm': dict(lr_mult=0.1, decay_mult=0.0),
            **{f'blocks.{i}.norm': dict(lr_mult=0.1, decay_mult=0.0) for i in range(24)},
            **{
                f'backbone.stages.{stage}.embed.{i}': dict(lr_mult=0.1, decay_mult=0.0)
                for stage, i in ((0, 1), (0, 4), (0, 7), (1, 1), (2, 1), (3, 1))
            },
        },
        norm_decay_mult=0.0,
    )
)
