# COCO with 32 images per batch: 4 per GPU on 8 GPUs.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

train_dataloader = dict(batch_size=4)
