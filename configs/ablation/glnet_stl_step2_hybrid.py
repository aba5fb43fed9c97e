# From GLNet-STL to 4G on ImageNet-1K, step 2 of 5: attention in every second block of stage 3.
# The settings are those of the authors for GLNet-STL.
# In stage 4, 'mha_nchw' computes what 'mha' did, until step 3 adds position encodings.
# Train it: glmix train ablation/glnet_stl_step2_hybrid --gpus 8
_base_ = './glnet_stl_step1_ovlp.py'

model = dict(backbone=dict(arch=dict(mixers=('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw'))))
