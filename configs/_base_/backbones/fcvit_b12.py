# FCViT-B12 with the authors' ImageNet-1K weights; channels of its outputs at strides 4, 8, 16, 32.
fcvit = dict(
    type='FCViT',
    arch='b12',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://fcvit_b12'),
)
fcvit_channels = [64, 128, 320, 512]
