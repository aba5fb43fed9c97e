# Semantic FPN with GLNet-micro on CamVid's street, from scratch, for two CPU cores:
#   glmix train camvid/semfpn_glnet_micro_camvid --data-root DIR
_base_ = ['../_base_/backbones/glnet_micro.py', './_base_/semfpn.py']

model = dict(backbone=_base_.glnet, neck=dict(in_channels=_base_.glnet_channels))
