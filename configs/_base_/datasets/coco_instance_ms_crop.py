# COCO with multi-scale training and crops: in one half of the cases, the image is resized; in the
# other, it is resized to a short side of 400, 500 or 600 px, cropped to a height and a width of 384
# to 600 px each, and resized as in the first. The pipeline is that of UniFormer's, Swin's and
# mmdet's `*-ms-crop-3x` configs (DETR's originally).
_base_ = ['mmdet::_base_/datasets/coco_instance.py', './multiscale.py']

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [_base_.multiscale_resize],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(1333, short) for short in (400, 500, 600)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                _base_.multiscale_resize,
            ],
        ],
    ),
    _base_.train_pipeline[-1],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
