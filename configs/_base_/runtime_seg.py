# Batch norms are synchronised across GPUs (in a distributed run only).
_base_ = ['mmseg::_base_/default_runtime.py', './runtime.py']

sync_bn = 'torch'
