# RetinaNet with GLNet-micro on BCCD's blood cells, from scratch, for two CPU cores:
#   glmix convert BCCD_Dataset/BCCD data/bccd
#   glmix train bccd/retinanet_glnet_micro_bccd
_base_ = ['../_base_/backbones/glnet_micro.py', './_base_/retinanet.py']

model = dict(backbone=_base_.glnet, neck=dict(in_channels=_base_.glnet_channels[1:]))
