# GLNet-4G with the authors' ImageNet-1K weights; channels of its outputs at strides 4, 8, 16, 32.
glnet = dict(
    type='GLNet',
    arch='4g',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://glnet_4g'),
)
glnet_channels = [64, 128, 256, 512]
