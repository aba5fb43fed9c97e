# RTMDet-L as mmdet trains it with Swin-B: 100 epochs, 128 images per batch, AdamW with a learning
# rate of 1e-3, group norms in neck and head; on a backbone that the config adds.
_base_ = ['mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py', '../runtime.py']

# The images are RGB, as ImageNet's weights expect them (RTMDet's own backbones take BGR).
model = dict(backbone=dict(_delete_=True, out_indices=(1, 2, 3), norm_eval=True))
train_dataloader = dict(batch_size=16)  # on 8 GPUs, not 4 x 32
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),
    checkpoint=dict(save_best='coco/bbox_mAP'),
)
auto_scale_lr = dict(base_batch_size=128)
