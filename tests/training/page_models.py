"""The configs of docs/any_detector.md, made small: for the demo set, with small backbones."""

import re
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES
from glmix_mm.utils.nested import nested_dicts

PAGE = Path(__file__).parents[2] / 'docs' / 'any_detector.md'
BLOCK = re.compile(r'```python\n(.*?)```(.*?)(?=```|^#|\Z)', re.DOTALL | re.MULTILINE)
FIRST = re.compile(r"'(mm\w+::)([\w/.-]+)\.py'")
SIZE, STEPS = 64, 3
CLASSES, SEG_CLASSES = len(DEMO_CLASSES), len(DEMO_SEG_CLASSES)
# The page's backbone, and small ones of each family, as files that configs inherit.
PUBLISHED = 'glmix_mm::_base_/backbones/glnet_4g.py'
SMALL = {
    'glnet': "dict(type='GLNet', arch='nano')\nglnet_channels = [32, 64, 128, 192]",
    'dilateformer': "dict(type='DilateFormer', arch=dict(channels=(24, 48, 96, 192), "
    'depths=(1, 1, 1, 1)))\ndilateformer_channels = [24, 48, 96, 192]',
    'fcvit': "dict(type='FCViT', arch=dict(channels=(16, 32, 64, 64), "
    'depths=(1, 1, 1, 1)))\nfcvit_channels = [16, 32, 64, 64]',
}
# Heads of a quarter of their width and a few layers, queries and boxes.
QUARTERS = {
    'channels', 'conv_out_channels', 'embed_dims', 'fc_out_channels', 'feat_channels',
    'feedforward_channels', 'in_channels', 'num_feats', 'out_channels', 'proposal_feature_channel',
}  # fmt: skip
FEW = dict(
    filter_thr=0.0, max_per_image=20, max_per_img=20, nms_pre=100, num_convs=1,
    num_layers=2, num_proposals=20, num_queries=20, score_thr=0.0, stacked_convs=1,
)  # fmt: skip
MASKS = re.compile('mask|htc|solo|queryinst|rtmdet-ins')
# Each has its own schedule, data and loaders, all for far more than this.
COMMON = f"""
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval={STEPS}))
log_processor = dict(by_epoch=False)
custom_hooks = []
param_scheduler = []
randomness = dict(seed=0)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={STEPS}, val_interval={STEPS})
loader = dict(num_workers=0, persistent_workers=False)
sampler = dict(type='InfiniteSampler', shuffle=True)
"""


class Case(NamedTuple):
    """A config of the page: the library, the config's name there, and the lines."""

    library: str
    name: str
    lines: str


def cases() -> list[Case]:
    """Return a case for each config that the page names, with the lines of its block."""
    found = []
    for lines, text in BLOCK.findall(PAGE.read_text()):
        library, first = FIRST.search(lines).groups()
        others = re.findall(r'`(\w+/[\w.-]+)`', text)
        for name in (first, *others):
            own = FIRST.sub(f"'{library}{name}.py'", lines, count=1)
            found.append(Case(library.removesuffix('::'), name, own))
    return found


CASES = {f'{case.library} {case.name.split("/")[1]}': case for case in cases()}


def write(case: Case, folder: Path, family: str = 'glnet') -> Path:
    """Write a case as a config for the demo set, small, with a family's small backbone."""
    (folder / 'small.py').write_text(f'{family} = {SMALL[family]}')
    lines = case.lines.replace(PUBLISHED, 'small.py').replace('_base_.glnet', f'_base_.{family}')
    (folder / 'lines.py').write_text(lines)
    settings = detection(case.name) if case.library == 'mmdet' else SEGMENTATION
    (folder / 'demo.py').write_text(f"_base_ = 'lines.py'\n{COMMON}{settings}")
    cfg = Config.fromfile(folder / 'demo.py')
    shrink(cfg, case.library)
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def shrink(cfg: Config, library: str) -> None:
    """Make all but the backbone small."""
    model = cfg.model
    narrow = library == 'mmdet' and 'encoder' not in model  # DETR's kin have fixed widths
    for settings in nested_dicts({**model, 'backbone': None}):
        for key in FEW.keys() & settings.keys():
            settings[key] = FEW[key]
        for key in QUARTERS & settings.keys() if narrow else ():
            if isinstance(settings[key], int):
                settings[key] //= 4
        if library == 'mmseg' and 'num_classes' in settings:
            settings['num_classes'] = SEG_CLASSES
        if library == 'mmseg' and 'channels' in settings:
            settings['channels'] //= 4
        if library == 'mmseg' and len(settings.get('class_weight') or ()) > SEG_CLASSES:
            settings['class_weight'] = [1.0] * SEG_CLASSES + [0.1]
    for key in FEW.keys() & model.keys():
        model[key] = FEW[key]
    if model.type == 'QueryInst':
        # Untrained, its boxes would leave the image, where mmdet can paste no mask.
        for head in model.roi_head.bbox_head:
            head.bbox_coder.target_stds = [0.01] * 4
    model.data_preprocessor.batch_augments = None  # to sizes of their own
    if library == 'mmseg':
        model.data_preprocessor.size = (SIZE, SIZE)


def detection(name: str) -> str:
    """Return a detector's data."""
    split = """dict(_delete_=True, type='CocoDataset', data_root='data/coco/', metainfo=metainfo,
        ann_file='annotations/instances_{0}2017.json', data_prefix=dict(img='{0}2017/'),"""
    return f"""
metainfo = dict(classes={DEMO_CLASSES})
load, pack = dict(type='LoadImageFromFile'), dict(type='PackDetInputs')
resize = dict(type='Resize', scale=({SIZE}, {SIZE}), keep_ratio=True)
boxes = dict(type='LoadAnnotations', with_bbox=True, with_mask={bool(MASKS.search(name))})
train_dataloader = dict(**loader, batch_size=2, sampler=sampler, batch_sampler=None,
    dataset={split.format('train')} pipeline=[load, boxes, resize, pack]))
val_dataloader = dict(**loader, batch_size=2,
    dataset={split.format('val')} test_mode=True, pipeline=[load, resize, boxes, dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
"""


SEGMENTATION = f"""
load, labels, pack = (dict(type=name) for name in
    ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs'))
own = dict(type='BaseSegDataset', metainfo=dict(classes={DEMO_SEG_CLASSES}), reduce_zero_label=True)
crop = dict(type='RandomCrop', crop_size=({SIZE}, {SIZE}))
train_dataloader = dict(**loader, batch_size=2,
    dataset=dict(**own, pipeline=[load, labels, crop, pack]))
val_dataloader = dict(**loader, batch_size=2, dataset=dict(**own, pipeline=[load, labels, pack]))
test_dataloader = val_dataloader
"""
