# FCViT-B48 with the authors' ImageNet-1K weights; channels of its outputs at strides 4, 8, 16, 32.
fcvit = dict(
    type='FCViT',
    arch='b48',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://fcvit_b48'),
)
fcvit_channels = [64, 128, 320, 512]
