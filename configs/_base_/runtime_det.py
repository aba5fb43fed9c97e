# The last 3 checkpoints and the one of the best box AP are kept; a loss that is not finite stops
# the run.
_base_ = ['mmdet::_base_/default_runtime.py', './runtime.py']

# Besides what every config needs: Float32RoIExtractor, MaskTTAModel.
custom_imports = dict(
    imports=['glmix_mm', 'glmix_mm.models.roi_extractor', 'glmix_mm.models.mask_tta']
)
default_hooks = dict(
    check_finite=dict(type='FiniteHook'),
    checkpoint=dict(max_keep_ckpts=3, save_best='coco/bbox_mAP'),
)
