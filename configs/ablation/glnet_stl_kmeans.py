# Ablation of GLNet-STL on ImageNet-1K: k-means in place of soft clustering.
# The settings are those of the authors for GLNet-STL.
# Train it: tools/dist_train.sh configs/ablation/glnet_stl_kmeans.py 8
_base_ = '../imagenet/glnet_stl.py'

model = dict(backbone=dict(arch=dict(_delete_=True, base='stl', clustering='kmeans')))
