# ImageNet-1K, 224 x 224, with RandAugment (m9-mstd0.5-inc1) and random erasing (0.25, per pixel).
# 1024 images per batch (8 GPUs x 128).
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_dataloader = dict(batch_size=128)
