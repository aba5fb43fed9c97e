# Mask2Former for instances as mmdet trains it (50 epochs with large-scale jitter): 16 images per
# batch, AdamW with a learning rate of 1e-4, a tenth of it in the backbone, no decay of norms, as
# with its Swin-T; on a backbone that the config adds.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    '../finetune/slow_backbone.py',
    '../runtime.py',
]

# 2 images per GPU are too few for batch statistics: batch norms keep ImageNet's.
model = dict(backbone=dict(_delete_=True, norm_eval=True))
optim_wrapper = _base_.slow_backbone
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),
    checkpoint=dict(save_best='coco/segm_mAP'),  # its boxes are those around its masks
)
