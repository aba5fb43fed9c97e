# Semantic FPN with FCViT-B12: 40,000 iterations of ADE20K.
# The authors' settings: AdamW, learning rate 2e-4, weight decay 1e-4, polynomial decay of power
# 0.9, batch 32, no drop path, test sizes rounded up to multiples of 32 px (their AlignResize).
# Mixed precision and synchronised batch norms follow the common protocol.
# Train it: glmix train fcvit/semfpn_fcvit_b12_40k --gpus 8
_base_ = [
    '../_base_/backbones/fcvit_b12.py',
    '../_base_/models/semfpn.py',
    '../_base_/datasets/ade20k_semfpn.py',
    '../_base_/schedules/semfpn_40k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    backbone=_base_.fcvit,
    neck=dict(in_channels=_base_.fcvit_channels),
)
