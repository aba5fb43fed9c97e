# As runtime_cls.py; token labeling's classifier, data set and transforms are registered as well.
_base_ = './runtime_cls.py'

custom_imports = dict(
    imports=['glmix_mm', 'glmix_mm.models.token_labeling', 'glmix_mm.data.tokenlabel_set']
)
