# Registers the backbones and the mixed-precision wrapper when mmdet's or mmseg's own tools run a
# config.
custom_imports = dict(imports=['glmix_mm'], allow_failed_imports=False)
