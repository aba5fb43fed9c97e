# GLNet-16G on ImageNet-1K at 224 x 224: 300 epochs.
# The authors' settings; the start of the warmup is this project's choice.
# Train it: glmix train imagenet/glnet_16g --gpus 8
# Score the authors' weights:
#   glmix test imagenet/glnet_16g glmix://glnet_16g
_base_ = [
    '../_base_/models/image_classifier.py',
    '../_base_/datasets/imagenet_glnet.py',
    '../_base_/schedules/imagenet_300e_glnet.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(type='GLNet', arch='16g', drop_path_rate=0.4),
    neck=dict(in_channels=1024, norm='batch'),
    head=dict(in_channels=1024),
)
