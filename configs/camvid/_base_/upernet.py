# UperNet for CamVid on a backbone that the config adds.
_base_ = [
    '../../_base_/models/upernet.py',
    './data.py',
    './schedule.py',
]

channels, norm_cfg = 64, dict(type='BN')
data_preprocessor = dict(size=_base_.crop)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(channels=channels, num_classes=len(_base_.classes), norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=channels, num_classes=len(_base_.classes), norm_cfg=norm_cfg),
)
