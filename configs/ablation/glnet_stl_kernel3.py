# Ablation of GLNet-STL on ImageNet-1K: a local kernel of 3 x 3 (5 x 5).
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_kernel3 --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(arch=dict(_delete_=True, base='stl', local_kernel_size=3)))
