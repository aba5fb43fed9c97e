# Semantic FPN for CamVid on a backbone that the config adds.
_base_ = [
    '../../_base_/models/semfpn.py',
    './data.py',
    './schedule.py',
]

channels, norm_cfg = 64, dict(type='BN')
data_preprocessor = dict(size=_base_.crop)
model = dict(
    data_preprocessor=data_preprocessor,
    neck=dict(out_channels=channels, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[channels] * 4,
        channels=channels,
        num_classes=len(_base_.classes),
        norm_cfg=norm_cfg,
    ),
)
