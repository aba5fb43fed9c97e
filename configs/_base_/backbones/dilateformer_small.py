# DilateFormer-Small with the authors' ImageNet-1K weights;
# channels of its outputs at strides 4, 8, 16, 32.
dilateformer = dict(
    type='DilateFormer',
    arch='small',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://dilateformer_small'),
)
dilateformer_channels = [72, 144, 288, 576]
