# COCO with 32 images a batch: 4 a GPU on 8 GPUs.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

train_dataloader = dict(batch_size=4)
