# DilateFormer-Small on ImageNet-1K at 224 x 224: 300 epochs.
# The authors' settings: their dist_train.sh and the defaults of their main.py.
# Train it: glmix train imagenet/dilateformer_small --gpus 8
# Score the authors' weights:
#   glmix test imagenet/dilateformer_small glmix://dilateformer_small
_base_ = [
    '../_base_/models/image_classifier.py',
    '../_base_/datasets/imagenet_dilateformer.py',
    '../_base_/schedules/imagenet_300e_dilateformer.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(type='DilateFormer', arch='small', drop_path_rate=0.1),
    neck=dict(in_channels=576, norm='layer'),
    head=dict(in_channels=576),
)
