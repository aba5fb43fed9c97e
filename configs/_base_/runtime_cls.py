# The last 3 checkpoints and the one of the best top-1 accuracy are kept.
_base_ = ['mmpretrain::_base_/default_runtime.py', './runtime.py']

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best='accuracy/top1'))
