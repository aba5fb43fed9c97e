# From GLNet-STL to 4G on ImageNet-1K, step 3 of 5: conditional position encodings.
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_step3_cpe --gpus 8
_base_ = './glnet_stl_step2_hybrid.py'

model = dict(backbone=dict(arch=dict(cpe_ks=3)))
