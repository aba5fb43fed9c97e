# Ablation of GLNet-STL on ImageNet-1K: learned slots without re-assignment.
# The settings are those of the authors for GLNet-STL.
# This is this project's reading of static slots; the paper's "static initialization" is the
# released stl_paramslot, whose slots are learned and re-assigned.
# Train it: glmix train ablation/glnet_stl_static_slots --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(
    backbone=dict(arch=dict(_delete_=True, base='stl', clustering='static', slot_init='param'))
)
