# ADE20K for UperNet: 2 images per GPU.
_base_ = './ade20k.py'

train_dataloader = dict(batch_size=2)
