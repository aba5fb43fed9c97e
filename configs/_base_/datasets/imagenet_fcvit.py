# ImageNet-1K as FCViT's authors use it: images are resized by bilinear or bicubic interpolation,
# drawn at random. 1024 images per batch (8 GPUs x 128). Each variant has its own evaluation crop.
_base_ = './imagenet.py'

crop = dict(type='RandomResizedCrop', scale=224, backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(**crop, interpolation='bilinear')],
            [dict(**crop, interpolation='bicubic')],
        ],
    ),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
