# ADE20K. Test-time augmentation (--tta) scales the size of the plain test, (2048, 512), as the
# protocol of the published results does; mmseg's own would scale each image's original size.
_base_ = 'mmseg::_base_/datasets/ade20k.py'

tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(2048 * ratio), int(512 * ratio)), keep_ratio=True)
                for ratio in _base_.img_ratios
            ],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
