"""What ``import glmix_mm`` changes in other packages: names, with wildcards, and how.

All else that it does is to add. docs/install.md shows this table, and a test compares both with
what happens.
"""

FORKS_NAME = 'mmengine.config.utils.MODULE2PACKAGE.mmseg'
CHANGES = {
    'mmengine.config.config.Config._get_cfg_path': 'takes `glmix_mm::NAME` as well',
    'mmengine.infer.infer.BaseInferencer._load_model_from_metafile': (
        'takes `glmix_mm::NAME` as well'
    ),
    'mmcv.*adjust_hue': 'takes negative shifts with numpy 2 as well',
    FORKS_NAME: 'where mmsegmentation is installed as onedl-mmsegmentation: finds that',
    'mmcv.ops.*.forward': 'where mmcv is compiled: gets contiguous tensors of a type it knows',
    'mmcv.ops.*.backward': 'where mmcv is compiled: gets contiguous tensors of a type it knows',
}
