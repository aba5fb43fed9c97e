# The last 3 checkpoints and the one of the best top-1 accuracy are kept; a loss that is not finite
# stops the run.
_base_ = ['mmpretrain::_base_/default_runtime.py', './runtime.py']

default_hooks = dict(
    check_finite=dict(type='FiniteHook'),
    checkpoint=dict(max_keep_ckpts=3, save_best='accuracy/top1'),
)
