# UperNet for ADE20K on a backbone that the config adds.
_base_ = 'mmseg::_base_/models/upernet_r50.py'

data_preprocessor = dict(size=(512, 512))
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    # Batch norms are trained, synchronised across GPUs (sync_bn in runtime_seg.py).
    backbone=dict(_delete_=True, norm_eval=False),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
