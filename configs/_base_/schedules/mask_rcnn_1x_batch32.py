# The 1x schedule as FCViT's authors set it for Mask R-CNN, 32 images per batch (8 GPUs x 4).
_base_ = './coco_1x.py'

optim_wrapper = dict(optimizer=dict(lr=2e-4))
auto_scale_lr = dict(base_batch_size=32)
