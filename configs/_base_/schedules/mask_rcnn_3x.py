# The 3x schedule with Mask R-CNN's stronger weight decay, which leaves out the norms.
_base_ = './coco_3x.py'

optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
