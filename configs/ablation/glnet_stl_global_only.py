# Ablation of GLNet-STL on ImageNet-1K: the global branch alone.
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_global_only --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(arch=dict(_delete_=True, base='stl', branches='global')))
