# Mask R-CNN with GLNet-nano on the embedded demo set: `make demo` runs it.
# Everything is small, for a few minutes on two CPU cores.
_base_ = [
    './_base_/glnet_nano.py',
    '../_base_/models/mask_rcnn.py',
    './_base_/coco.py',
    './_base_/schedule.py',
    '../_base_/runtime_det.py',
]

# 1,500 iterations instead of 1,200; what is scored and saved is an average of the weights.
iterations = 1500
train_cfg = dict(max_iters=iterations, val_interval=iterations // 2)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = iterations
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
custom_hooks = [dict(type='EMAHook', momentum=0.005, update_buffers=True)]

channels, num_classes = 64, len(_base_.classes)
norm_cfg = dict(type='BN')  # without norms, training from scratch takes far longer
roi_extractor = dict(out_channels=channels, roi_layer=dict(sampling_ratio=2))
model = dict(
    backbone=dict(**_base_.glnet, norm_eval=False),
    neck=dict(
        in_channels=_base_.glnet_channels, out_channels=channels, num_outs=4, norm_cfg=norm_cfg
    ),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(strides=[4, 8, 16, 32]),
        loss_bbox=dict(loss_weight=2.0),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        # Weights: few regions hold an object, so its class would weigh little against its mask.
        bbox_head=dict(
            in_channels=channels,
            fc_out_channels=256,
            num_classes=num_classes,
            reg_class_agnostic=True,
            loss_cls=dict(loss_weight=2.0),
            loss_bbox=dict(loss_weight=2.0),
        ),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=channels,
            num_classes=num_classes,
            norm_cfg=norm_cfg,
            loss_mask=dict(loss_weight=2.0),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=20)),
)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=iterations, save_best=None),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(side, side), keep_ratio=True) for side in (192, 160, 256)],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
