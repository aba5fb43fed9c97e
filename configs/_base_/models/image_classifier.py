# An image classifier as the backbones' authors build it: a norm of the last stage's own map, its
# mean over the positions, a linear layer. Trained with mixup, cutmix and smoothed labels.
model = dict(
    type='ImageClassifier',
    backbone=dict(out_indices=(3,), output_norms=False),
    neck=dict(type='NormPool'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
