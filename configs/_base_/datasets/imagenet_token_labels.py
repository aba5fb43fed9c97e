# ImageNet-1K with token labels (data/imagenet/label_top5_train_nfnet/CLASS/IMAGE.pt), which are
# moved with the image: flip, RandAugment, then the crop, in the order of the authors' code. 2048
# images per batch (8 GPUs x 256).
_base_ = './imagenet.py'

from glmix_mm.models.evaluation import evaluation_pipeline

crop = dict(type='CropWithTokenLabels', scale=224, backend='pillow')
pixels = dict(
    pad_val=[round(value) for value in _base_.bgr_mean],
    interpolation='bicubic',
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadTokenLabels'),
    dict(type='FlipWithTokenLabels', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugmentWithTokenLabels',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=pixels,
    ),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(**crop, interpolation='bilinear')],
            [dict(**crop, interpolation='bicubic')],
        ],
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=_base_.bgr_mean,
        fill_std=_base_.bgr_std,
    ),
    dict(type='PackInputs', algorithm_keys=('token_labels', 'crop')),
]
test_pipeline = evaluation_pipeline('glnet_4g_tklb')
train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        type='TokenLabelImageNet',
        token_labels='label_top5_train_nfnet',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
