# DINO as mmdet trains it with ResNet-50 (dino-4scale, 12 epochs): 16 images per batch, AdamW with a
# learning rate of 1e-4, a tenth of it in the backbone; on a backbone that the config adds.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', '../runtime.py']

# 2 images per GPU are too few for batch statistics: batch norms keep ImageNet's.
model = dict(backbone=dict(_delete_=True, out_indices=(1, 2, 3), norm_eval=True))
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),
    checkpoint=dict(max_keep_ckpts=3, save_best='coco/bbox_mAP'),
)
