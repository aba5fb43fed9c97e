# GLNet-4G with token labeling on ImageNet-1K at 224 x 224: 310 epochs.
# The authors' settings, except for their crop of the labels (glmix_mm/models/token_labeling.py).
# Train it: glmix train imagenet/glnet_4g_tklb --gpus 8
# Score the authors' weights:
#   glmix test imagenet/glnet_4g_tklb glmix://glnet_4g_tklb
_base_ = [
    '../_base_/models/token_label_classifier.py',
    '../_base_/datasets/imagenet_token_labels.py',
    '../_base_/schedules/imagenet_310e_token_labels.py',
    '../_base_/runtime_token_labels.py',
]

model = dict(
    backbone=dict(type='GLNet', arch='4g', drop_path_rate=0.1),
    neck=dict(in_channels=512, norm='batch'),
    head=dict(in_channels=512),
)
