# FCViT-B48 on ImageNet-1K at 224 x 224: 300 epochs.
# The recipe is this project's choice: Swin's, the common one, and this drop path rate.
# Train it: tools/dist_train.sh configs/imagenet/fcvit_b48.py 8
# Score the authors' weights:
#   tools/test.py configs/imagenet/fcvit_b48.py glmix://fcvit_b48
_base_ = [
    '../_base_/models/image_classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(type='FCViT', arch='b48', drop_path_rate=0.2),
    neck=dict(in_channels=512, norm='group'),
    head=dict(in_channels=512),
)
