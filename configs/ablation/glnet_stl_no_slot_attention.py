# Ablation of GLNet-STL on ImageNet-1K: no attention among the slots.
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_no_slot_attention --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(arch=dict(_delete_=True, base='stl', slot_attention=False)))
