# GLNet-9G with the authors' ImageNet-1K weights; channels of its outputs at strides 4, 8, 16, 32.
glnet = dict(
    type='GLNet',
    arch='9g',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://glnet_9g'),
)
glnet_channels = [96, 192, 384, 768]
