# Faster R-CNN with GLNet-nano on BCCD's blood cells, from scratch, for two CPU cores:
#   glmix convert BCCD_Dataset/BCCD data/bccd
#   glmix train bccd/fasterrcnn_glnet_nano_bccd
_base_ = ['../_base_/backbones/glnet_nano.py', './_base_/faster_rcnn.py']

model = dict(backbone=_base_.glnet, neck=dict(in_channels=_base_.glnet_channels))
