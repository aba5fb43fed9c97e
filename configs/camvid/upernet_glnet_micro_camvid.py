# UperNet with GLNet-micro on CamVid's street, from scratch, for two CPU cores:
#   glmix train camvid/upernet_glnet_micro_camvid --data-root DIR
_base_ = ['../_base_/backbones/glnet_micro.py', './_base_/upernet.py']

model = dict(
    backbone=_base_.glnet,
    decode_head=dict(in_channels=_base_.glnet_channels),
    auxiliary_head=dict(in_channels=_base_.glnet_channels[2]),
)
