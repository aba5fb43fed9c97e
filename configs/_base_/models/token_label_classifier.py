# The same trained with token labeling: a second linear layer classifies each position, and patches
# are exchanged between images after the stem. In evaluation, half of each class's largest logit
# among the positions is added.
_base_ = './image_classifier.py'

model = dict(
    type='TokenLabelClassifier',
    neck=dict(keep_map=True),
    head=dict(
        type='TokenLabelHead',
        dense_weight=0.5,
        smoothing=0.1,
        loss=dict(_delete_=True, type='CrossEntropyLoss', use_soft=True),
    ),
    train_cfg=None,
)
