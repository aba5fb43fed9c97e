# ImageNet-1K as GLNet's authors use it, with repeated augmentation: each image drawn counts three
# times, augmented apart. 2048 images per batch (8 GPUs x 256).
_base_ = './imagenet.py'

from glmix_mm.models.evaluation import evaluation_pipeline

train_dataloader = dict(batch_size=256, sampler=dict(type='RepeatAugSampler'))
test_pipeline = evaluation_pipeline('glnet')
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
