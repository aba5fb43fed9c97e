# DilateFormer-Tiny with the authors' ImageNet-1K weights;
# channels of its outputs at strides 4, 8, 16, 32.
dilateformer = dict(
    type='DilateFormer',
    arch='tiny',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://dilateformer_tiny'),
)
dilateformer_channels = [72, 144, 288, 576]
