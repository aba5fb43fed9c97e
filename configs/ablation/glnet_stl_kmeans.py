# Ablation of GLNet-STL on ImageNet-1K: k-means in place of soft clustering.
# The settings are those of the authors for GLNet-STL.
# Train it: glmix train ablation/glnet_stl_kmeans --gpus 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(arch=dict(_delete_=True, base='stl', clustering='kmeans')))
