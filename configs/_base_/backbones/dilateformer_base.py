# DilateFormer-Base with the authors' ImageNet-1K weights;
# channels of its outputs at strides 4, 8, 16, 32.
dilateformer = dict(
    type='DilateFormer',
    arch='base',
    init_cfg=dict(type='Pretrained', checkpoint='glmix://dilateformer_base'),
)
dilateformer_channels = [96, 192, 384, 768]
