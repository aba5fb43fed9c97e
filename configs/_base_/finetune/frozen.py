# The stem and the first two stages stay as they were pretrained, in any config:
#   _base_ = ['glmix_mm::maskrcnn_glnet_4g_1x.py', 'glmix_mm::_base_/finetune/frozen.py']
#   model = _base_.frozen
frozen = dict(backbone=dict(frozen_stages=2))
