# FCViT-B48 on ImageNet-1K at 224 x 224: 310 epochs.
# The authors' settings: their README and the defaults of their train.py.
# Train it: glmix train imagenet/fcvit_b48 --gpus 8
# Score the authors' weights:
#   glmix test imagenet/fcvit_b48 glmix://fcvit_b48
_base_ = [
    '../_base_/models/image_classifier.py',
    '../_base_/datasets/imagenet_fcvit.py',
    '../_base_/schedules/imagenet_310e_fcvit.py',
    '../_base_/runtime_cls.py',
]

from glmix_mm.models.evaluation import evaluation_pipeline

model = dict(
    backbone=dict(type='FCViT', arch='b48', drop_path_rate=0.2),
    neck=dict(in_channels=512, norm='group'),
    head=dict(in_channels=512),
)
test_pipeline = evaluation_pipeline('fcvit_b48')
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
