# From GLNet-STL to 4G on ImageNet-1K, step 1 of 5: overlapping patch embeddings.
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_step1_ovlp --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(arch=dict(_delete_=True, base='stl', patch_embed='ovlp')))
