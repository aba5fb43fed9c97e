# ADE20K for Semantic FPN: 4 images per GPU; test sizes are rounded up to multiples of 32 px.
_base_ = './ade20k.py'

train_dataloader = dict(batch_size=4)
test_pipeline = [
    *_base_.test_pipeline[:2],
    dict(type='ResizeToMultiple', size_divisor=32),
    *_base_.test_pipeline[2:],
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            _base_.tta_pipeline[1].transforms[0],
            [dict(type='ResizeToMultiple', size_divisor=32)],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
