# ImageNet-1K with repeated augmentation: each image drawn counts three times, augmented apart.
# 2048 images a batch (8 GPUs x 256).
_base_ = './imagenet.py'

train_dataloader = dict(batch_size=256, sampler=dict(type='RepeatAugSampler'))
