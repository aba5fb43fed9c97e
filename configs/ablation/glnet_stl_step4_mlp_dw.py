# From GLNet-STL to 4G on ImageNet-1K, step 4 of 5: depthwise convolutions in the FFNs.
# The settings are those of the authors for GLNet-STL.
# Deeper, narrower and with FFNs of ratio 3, it is GLNet-4G: configs/imagenet/glnet_4g.py
# Train it: glmix train ablation/glnet_stl_step4_mlp_dw --gpus 8
_base_ = './glnet_stl_step3_cpe.py'

model = dict(backbone=dict(arch=dict(mlp_dw=True)))
