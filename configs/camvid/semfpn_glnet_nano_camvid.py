# Semantic FPN with GLNet-nano on CamVid's street, from scratch, for two CPU cores:
#   glmix train camvid/semfpn_glnet_nano_camvid --data-root DIR
_base_ = ['../_base_/backbones/glnet_nano.py', './_base_/semfpn.py']

model = dict(backbone=_base_.glnet, neck=dict(in_channels=_base_.glnet_channels))
