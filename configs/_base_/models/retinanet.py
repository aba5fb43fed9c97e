# RetinaNet on a backbone that the config adds; with mmdet's test-time augmentation (--tta).
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::retinanet/retinanet_tta.py']

model = dict(
    # The pyramid starts at stride 8 (the recipe's start_level=1). Stride 4 is left out in the
    # backbone already: its output norm would get no gradient, which distributed training refuses.
    # 2 images per GPU are too few for batch statistics: batch norms keep ImageNet's.
    backbone=dict(_delete_=True, out_indices=(1, 2, 3), norm_eval=True),
    neck=dict(start_level=0),
)
