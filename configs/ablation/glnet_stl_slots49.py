# Ablation of GLNet-STL on ImageNet-1K: 49 slots (64).
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_slots49 --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(slot_grid=(7, 7)))
