# GLNet-16G with the authors' ImageNet-1K weights; channels of its outputs at strides 4, 8, 16, 32.
glnet = dict(
    type='GLNet',
    arch='16g',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://glnet_16g'),
)
glnet_channels = [128, 256, 512, 1024]
