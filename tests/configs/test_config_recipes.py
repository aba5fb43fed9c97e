"""Every number of the published recipes, written out here, against the resolved configs."""

import pytest
from shipped_configs import SHIPPED, parts

DETECTION = [name for name in SHIPPED if parts(name).detects]
SEGMENTATION = [name for name in SHIPPED if not parts(name).detects]
GPUS = 8

# Family -> method -> variant -> rate. FCViT's authors set none.
DROP_PATH = {
    'glnet': {
        'maskrcnn': {'stl': 0.2, '4g': 0.2, '9g': 0.3, '16g': 0.4},
        'retinanet': {'4g': 0.2, '9g': 0.3, '16g': 0.4},
        'semfpn': {'4g': 0.15, '9g': 0.3, '16g': 0.4},
        'upernet': {'stl': 0.3, '4g': 0.3, '9g': 0.4, '16g': 0.5},
    },
    'dilateformer': {
        'maskrcnn': {'tiny': 0.2, 'small': 0.3, 'base': 0.4},
        'cascademaskrcnn': {'tiny': 0.2, 'small': 0.3, 'base': 0.4},
        'retinanet': {'tiny': 0.2, 'small': 0.3, 'base': 0.4},
        'semfpn': {'tiny': 0.15, 'small': 0.3, 'base': 0.4},
        'upernet': {'tiny': 0.3, 'small': 0.4, 'base': 0.5},
    },
}
# Method -> optimizer and what stands in paramwise_cfg.
ADAMW = {
    'maskrcnn': (dict(type='AdamW', lr=1e-4, weight_decay=0.05), dict(norm_decay_mult=0.0)),
    'cascademaskrcnn': (dict(type='AdamW', lr=1e-4, weight_decay=0.05), dict(norm_decay_mult=0.0)),
    'retinanet': (dict(type='AdamW', lr=1e-4, weight_decay=1e-4), None),
    'semfpn': (dict(type='AdamW', lr=2e-4, weight_decay=1e-4), None),
    'upernet': (dict(type='AdamW', lr=6e-5, weight_decay=0.01), dict(norm_decay_mult=0.0)),
}
# FCViT's own, which its authors released.
FCVIT_ADAMW = {
    'maskrcnn': (dict(type='AdamW', lr=2e-4, weight_decay=1e-4), None),
    'semfpn': (dict(type='AdamW', lr=2e-4, weight_decay=1e-4), None),
}
# Schedule -> epochs, epochs of the steps, short sides in training.
EPOCHS = {
    '1x': (12, [8, 11], [800]),
    '3x': (36, [27, 33], [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]),
}
# Method and schedule -> iterations, images a batch, the steps of the learning rate.
ITERATIONS = {
    ('semfpn', '80k'): (
        80_000,
        32,
        [
            dict(type='LinearLR', start_factor=0.1, begin=0, end=1000),
            dict(type='CosineAnnealingLR', eta_min_ratio=1e-8, begin=1000, end=80_000),
        ],
    ),
    ('semfpn', '40k'): (
        40_000,
        32,
        [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=40_000)],
    ),
    ('upernet', '160k'): (
        160_000,
        16,
        [
            dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500),
            dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=160_000),
        ],
    ),
}


def plain(node) -> dict:
    """Return a config node as a dict without mmengine's bookkeeping."""
    return {key: value for key, value in node.items() if key != '_scope_'}


def step(pipeline, kind: str):
    """Return the one step of this type in a pipeline."""
    (found,) = (entry for entry in pipeline if entry.type == kind)
    return found


@pytest.mark.parametrize('name', DETECTION + SEGMENTATION)
def test_optimizer_and_precision(load, name):
    method, family, _, _ = parts(name)
    wrapper = load(name).optim_wrapper
    recipes = ADAMW | FCVIT_ADAMW if family == 'fcvit' else ADAMW
    optimizer, paramwise = recipes[method]
    assert wrapper.pop('type') == 'AutoAmpOptimWrapper'
    assert wrapper.pop('optimizer') == optimizer
    assert wrapper.pop('paramwise_cfg', None) == paramwise
    assert not plain(wrapper), 'no gradient clipping, no accumulation'


@pytest.mark.parametrize('name', DETECTION + SEGMENTATION)
def test_drop_path(load, name):
    method, family, variant, _ = parts(name)
    expected = 0.0 if family == 'fcvit' else DROP_PATH[family][method][variant]
    assert load(name).model.backbone.get('drop_path_rate', 0.0) == expected


@pytest.mark.parametrize('name', DETECTION + SEGMENTATION)
def test_checkpoints_kept(load, name):
    checkpoint = load(name).default_hooks.checkpoint
    assert checkpoint.type == 'CheckpointHook'
    assert checkpoint.max_keep_ckpts == 3
    assert checkpoint.save_best == ('coco/bbox_mAP' if parts(name).detects else 'mIoU')


@pytest.mark.parametrize('name', DETECTION)
def test_detection_schedule_and_batch(load, name):
    cfg = load(name)
    epochs, steps, _ = EPOCHS[parts(name).schedule]
    batch = 32 if name.startswith('fcvit/maskrcnn') else 16
    assert plain(cfg.train_cfg) == dict(
        type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1
    )
    warmup, decay = map(plain, cfg.param_scheduler)
    assert warmup == dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500)
    assert decay == dict(
        type='MultiStepLR', milestones=steps, gamma=0.1, by_epoch=True, begin=0, end=epochs
    )
    assert cfg.train_dataloader.batch_size * GPUS == batch
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=batch)
    assert cfg.train_dataloader.dataset.type == 'CocoDataset', 'no repetition: an epoch is one'


@pytest.mark.parametrize('name', DETECTION)
def test_detection_images(load, name):
    cfg = load(name)
    masks = parts(name).masks
    _, _, short_sides = EPOCHS[parts(name).schedule]
    train = cfg.train_dataloader.dataset.pipeline
    scales = [(1333, side) for side in short_sides]
    if len(scales) == 1:
        resize = dict(type='Resize', scale=scales[0], keep_ratio=True)
    else:
        resize = dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)
    if len(scales) > 1 and masks:  # UniFormer's and mmdet's *-ms-crop-3x
        before = dict(resize, scales=[(1333, 400), (1333, 500), (1333, 600)])
        crop = dict(
            type='RandomCrop',
            crop_type='absolute_range',
            crop_size=(384, 600),
            allow_negative_crop=True,
        )
        resize = dict(type='RandomChoice', transforms=[[resize], [before, crop, resize]])
    assert [entry.type for entry in train] == [
        'LoadImageFromFile',
        'LoadAnnotations',
        *([resize['type'], 'RandomFlip'] if 'transforms' not in resize else ()),
        *(['RandomFlip', resize['type']] if 'transforms' in resize else ()),
        'PackDetInputs',
    ]
    assert plain(step(train, resize['type'])) == resize
    assert train[1].get('with_mask', False) == masks
    assert step(train, 'RandomFlip').prob == 0.5
    assert cfg.train_dataloader.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=32)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert plain(step(loader.dataset.pipeline, 'Resize')) == dict(
            type='Resize', scale=(1333, 800), keep_ratio=True
        )
    assert cfg.model.data_preprocessor.pad_size_divisor == 32
    wanted = ['bbox', 'segm'] if masks else 'bbox'
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == wanted


@pytest.mark.parametrize('name', DETECTION)
def test_detection_model(load, name):
    cfg = load(name)
    model = cfg.model
    assert cfg.default_scope == 'mmdet'
    assert model.backbone.norm_eval is True
    assert (model.neck.type, model.neck.out_channels, model.neck.num_outs) == ('FPN', 256, 5)


@pytest.mark.parametrize('name', [name for name in DETECTION if parts(name).method == 'maskrcnn'])
def test_mask_rcnn(load, name):
    cfg = load(name)
    model = cfg.model
    assert model.type == 'MaskRCNN'
    assert model.neck.in_channels == parts(name).channels
    heads = (model.roi_head.bbox_head, model.roi_head.mask_head)
    assert [head.num_classes for head in heads] == [80, 80]
    nms = dict(type='nms', iou_threshold=0.5)
    assert cfg.tta_model.type == 'MaskTTAModel'
    assert cfg.tta_model.tta_cfg == dict(nms=nms, max_per_img=100)
    sizes, flips = cfg.tta_pipeline[1].transforms[:2]
    assert [size.scale for size in sizes] == [(1333, 800), (666, 400), (2000, 1200)]
    assert [flip.prob for flip in flips] == [1.0, 0.0]


@pytest.mark.parametrize('name', [name for name in DETECTION if 'cascade' in name])
def test_cascade_mask_rcnn(load, name):
    cfg = load(name)
    model, roi_head = cfg.model, cfg.model.roi_head
    assert (model.type, roi_head.type, roi_head.num_stages) == ('CascadeRCNN', 'CascadeRoIHead', 3)
    assert model.neck.in_channels == parts(name).channels
    assert roi_head.stage_loss_weights == [1, 0.5, 0.25]
    assert [stage.assigner.pos_iou_thr for stage in model.train_cfg.rcnn] == [0.5, 0.6, 0.7]
    assert [head.bbox_coder.target_stds[0] for head in roi_head.bbox_head] == [0.1, 0.05, 0.033]
    for head in roi_head.bbox_head:
        assert (head.num_shared_convs, head.num_shared_fcs, head.norm_cfg.type) == (4, 1, 'BN')
        assert (head.reg_class_agnostic, head.reg_decoded_bbox) == (False, True)
        assert head.loss_bbox == dict(type='GIoULoss', loss_weight=10.0)
    assert cfg.sync_bn == 'torch'
    heads = (*roi_head.bbox_head, roi_head.mask_head)
    assert [head.num_classes for head in heads] == [80] * 4
    extractors = (roi_head.bbox_roi_extractor, roi_head.mask_roi_extractor)
    assert [extractor.type for extractor in extractors] == ['Float32RoIExtractor'] * 2
    assert [extractor.roi_layer.output_size for extractor in extractors] == [7, 14]
    assert 'tta_model' not in cfg, 'mmdet averages no masks of three stages over views'


@pytest.mark.parametrize('name', [name for name in DETECTION if 'retinanet' in name])
def test_retinanet(load, name):
    cfg = load(name)
    model = cfg.model
    # The pyramid starts at stage 1 of the stages 0 to 3, whoever leaves stage 0 out.
    first = model.neck.get('start_level', 0)
    stages = model.backbone.get('out_indices', (0, 1, 2, 3))
    assert stages[first:] == (1, 2, 3)
    assert model.type == 'RetinaNet'
    assert model.neck.in_channels[first:] == parts(name).channels[1:]
    assert len(model.neck.in_channels) == len(stages)
    assert model.neck.add_extra_convs == 'on_input'
    assert model.bbox_head.num_classes == 80
    assert model.bbox_head.anchor_generator.strides == [8, 16, 32, 64, 128]
    assert cfg.tta_model.type == 'DetTTAModel'


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation_schedule_and_batch(load, name):
    cfg = load(name)
    method, _, _, schedule = parts(name)
    iterations, batch, rates = ITERATIONS[method, schedule]
    assert cfg.train_cfg.type == 'IterBasedTrainLoop'
    assert cfg.train_cfg.max_iters == iterations
    expected = [dict(**entry, by_epoch=False) for entry in rates]
    assert [plain(entry) for entry in cfg.param_scheduler] == expected
    assert cfg.train_dataloader.batch_size * GPUS == batch
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=batch)


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation_images(load, name):
    cfg = load(name)
    train = cfg.train_dataloader.dataset.pipeline
    assert plain(step(train, 'RandomResize')) == dict(
        type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    assert step(train, 'RandomCrop').crop_size == (512, 512)
    assert cfg.model.data_preprocessor.size == (512, 512)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        pipeline = loader.dataset.pipeline
        assert step(pipeline, 'Resize').scale == (2048, 512)
        aligned = [entry.size_divisor for entry in pipeline if entry.type == 'ResizeToMultiple']
        assert aligned == ([32] if parts(name).method == 'semfpn' else [])
        assert step(pipeline, 'LoadAnnotations').reduce_zero_label is True
    sides = [(1024, 256), (1536, 384), (2048, 512), (2560, 640), (3072, 768), (3584, 896)]
    views = step(cfg.tta_pipeline, 'TestTimeAug').transforms
    assert [plain(view) for view in views[0]] == [
        dict(type='Resize', scale=side, keep_ratio=True) for side in sides
    ]
    flips = next(group for group in views if group[0].type == 'RandomFlip')
    assert [flip.prob for flip in flips] == [0.0, 1.0]


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation_model(load, name):
    method, channels = parts(name).method, parts(name).channels
    cfg = load(name)
    model = cfg.model
    assert cfg.default_scope == 'mmseg'
    assert cfg.sync_bn == 'torch'
    assert model.backbone.norm_eval is False
    assert model.pretrained is None
    assert model.test_cfg.mode == 'whole'
    assert model.decode_head.num_classes == 150
    assert cfg.tta_model.type == 'SegTTAModel'
    if method == 'semfpn':
        assert (model.neck.type, model.neck.out_channels) == ('FPN', 256)
        assert model.neck.in_channels == channels
        assert model.decode_head.type == 'FPNHead'
        return
    assert (model.decode_head.type, model.decode_head.channels) == ('UPerHead', 512)
    assert model.decode_head.in_channels == channels
    auxiliary = model.auxiliary_head
    assert (auxiliary.type, auxiliary.in_index, auxiliary.channels) == ('FCNHead', 2, 256)
    assert auxiliary.in_channels == channels[2]
    assert auxiliary.num_classes == 150
