"""What a runner must know besides the graph: how images come in, and what the outputs mean.

It travels as json in the exported file. Everything is read from the config and the model; what
cannot be said in it is refused, so that a runner never computes something else than the model.
"""

from collections.abc import Mapping, Sequence
from numbers import Number

from mmengine.config import Config
from torch import nn

from ..checkpoints.record import describe_model
from ..errors import UserError
from ..inference.coco_results import category_numbers, known_ids
from ..models.backbone import PyramidBackbone
from ..utils.nested import unwrap

TASKS = {
    'ImageClassifier': 'classification',
    'EncoderDecoder': 'segmentation',
    'RetinaNet': 'detection',
    'MaskRCNN': 'instances',
}
LOADING = (
    'LoadImageFromFile',
    'CheckedLoadImage',
    'LoadAnnotations',
    'CheckedLoadLabels',
    'PackDetInputs',
    'PackSegInputs',
    'PackInputs',
)
CODER = 'DeltaXYWHBBoxCoder'
MIN_WH_RATIO = 16 / 1000  # mmdet's bound of a box's change of width and height


def find_task(model: nn.Module, cfg: Config, backbone_alone: bool = False) -> str:
    """Return what a model does: 'backbone' or one of :data:`TASKS`.

    Raises:
        UserError: it cannot be exported.
    """
    if not isinstance(getattr(model, 'backbone', None), PyramidBackbone):
        kind = type(getattr(model, 'backbone', model)).__name__
        raise UserError(f"{cfg.filename}: {kind} is not one of this package's backbones")
    if backbone_alone:
        return 'backbone'
    kind = type(model).__name__
    if kind not in TASKS:
        raise UserError(
            f'{cfg.filename}: {kind} cannot be exported; {", ".join(TASKS)} can, and its backbone '
            'alone with --backbone'
        )
    _check_parts(model, TASKS[kind], cfg)
    return TASKS[kind]


def _check_parts(model: nn.Module, task: str, cfg: Config) -> None:
    """Refuse the settings that a runner does not know."""
    expected = {}
    if task == 'segmentation':
        expected = {
            'test_cfg.mode': (model.test_cfg.get('mode', 'whole'), 'whole'),
            'data_preprocessor.test_cfg': (model.data_preprocessor.test_cfg, None),
        }
    elif task == 'detection':
        expected = {f'bbox_head.{key}': pair for key, pair in _anchors(model.bbox_head).items()}
    elif task == 'instances':
        roi_head = model.roi_head
        expected = {
            **{f'rpn_head.{key}': pair for key, pair in _anchors(model.rpn_head).items()},
            'rpn_head.num_classes': (model.rpn_head.num_classes, 1),
            'roi_head': (type(roi_head).__name__, 'StandardRoIHead'),
            'roi_head.bbox_head.bbox_coder': (_name(roi_head.bbox_head.bbox_coder), CODER),
            'roi_head.bbox_head.custom_activation': (
                bool(roi_head.bbox_head.custom_activation),
                False,
            ),
            'roi_head.mask_head': (type(roi_head.mask_head).__name__, 'FCNMaskHead'),
            'test_cfg.rcnn.nms.type': (roi_head.test_cfg.nms.get('type', 'nms'), 'nms'),
        }
        for kind in ('bbox', 'mask'):
            layers = getattr(roi_head, f'{kind}_roi_extractor').roi_layers
            found = {(type(layer).__name__, layer.pool_mode) for layer in layers}
            expected[f'roi_head.{kind}_roi_extractor'] = (found, {('RoIAlign', 'avg')})
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise UserError(
                f'{cfg.filename}: model.{name} is {found!r}; a model can be exported where it is '
                f'{wanted!r}, and the backbone alone with --backbone'
            )


def _anchors(head: nn.Module) -> dict[str, tuple]:
    return {
        'anchor_generator': (_name(head.prior_generator), 'AnchorGenerator'),
        'bbox_coder': (_name(head.bbox_coder), CODER),
        'bbox_coder.add_ctr_clamp': (head.bbox_coder.add_ctr_clamp, False),
        'loss_cls.use_sigmoid': (head.use_sigmoid_cls, True),
        'test_cfg.nms.type': (head.test_cfg.nms.get('type', 'nms'), 'nms'),
    }


def _name(thing: object) -> str:
    return type(thing).__name__


def runner_settings(
    cfg: Config,
    model: nn.Module,
    task: str,
    classes: Sequence[str],
    size: Sequence[int] | None,
) -> dict:
    """Return the settings of a model, of plain numbers, words, lists and dicts.

    Args:
        cfg: the config.
        model: the model.
        task: what :func:`find_task` returned.
        classes: names.
        size: height and width of the graph's image in px, None for any.

    Raises:
        UserError: the test pipeline has a step that a runner does not know, or gives no image of
            this size.
    """
    settings = dict(task=task, model=describe_model(cfg.model), size=size and list(size))
    settings['input'] = _input(cfg)
    if task == 'backbone':
        return settings
    numbers = category_numbers(classes, known_ids(cfg).categories)
    settings.update(steps=_steps(cfg), classes=list(classes), category_ids=numbers)
    _check_size(cfg, settings)
    if task == 'segmentation':
        head = model.decode_head
        settings['align_corners'] = bool(head.align_corners)
        # One output tells the second class from the first, by its probability.
        settings['threshold'] = head.threshold if head.out_channels == 1 else None
    elif task == 'detection':
        settings['anchors'] = _describe_anchors(model.bbox_head)
    elif task == 'instances':
        head, test_cfg = model.roi_head.bbox_head, model.roi_head.test_cfg
        settings['anchors'] = _describe_anchors(model.rpn_head)
        settings['boxes'] = dict(
            coder=_coder(head.bbox_coder),
            score_thr=test_cfg.score_thr,
            iou_threshold=test_cfg.nms.iou_threshold,
            max_per_img=test_cfg.max_per_img,
        )
        settings['masks'] = dict(threshold=test_cfg.mask_thr_binary)
    return settings


def _input(cfg: Config) -> dict:
    """Return how pixels become numbers, and what the image is padded to."""
    own = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return dict(
        mean=list(own.get('mean') or [0.0] * 3),
        std=list(own.get('std') or [1.0] * 3),
        rgb=bool(own.get('bgr_to_rgb') or own.get('to_rgb')),
        divisor=own.get('pad_size_divisor', 1),
        padding=own.get('pad_value', 0),
    )


def _steps(cfg: Config) -> list[dict]:
    """Return what the test pipeline does to an image's size, in turn."""
    steps = []
    for entry in next(unwrap(cfg.test_dataloader.dataset)).pipeline:
        if entry.type.split('.')[-1] in LOADING:
            continue
        steps.append(_step(entry))
        if steps[-1] is None:
            raise UserError(
                f'{cfg.filename}: the test pipeline has {dict(entry)}, which the runner does not '
                'support; it supports Resize (bilinear, with a scale), ResizeToMultiple, '
                'ResizeEdge (by Pillow, bicubic) and CenterCrop'
            )
    return steps


def _check_size(cfg: Config, settings: Mapping) -> None:
    """Refuse a size that no image has after the test pipeline."""
    size = settings['size']
    for step in settings['steps'] if size else ():
        wanted = _other_size(step, size)
        if wanted:
            raise UserError(
                f'--size {size[0]} {size[1]}: the test pipeline of {cfg.filename} makes images of '
                f'other sizes; give {wanted}'
            )


def _other_size(step: Mapping, size: Sequence[int]) -> str:
    """Return which sizes suit a step of the pipeline, '' if this one does."""
    if step['kind'] == 'multiple' and any(side % step['divisor'] for side in size):
        return f'multiples of {step["divisor"]}'
    if step['kind'] == 'crop' and size != step['size']:
        return f'{step["size"][0]} {step["size"][1]}'
    if step['kind'] == 'resize' and not step['keep_ratio']:
        width, height = step['scale']
        return f'{height} {width} or more' if size[0] < height or size[1] < width else ''
    return ''


def _step(entry: Mapping) -> dict | None:
    """Return a step of the pipeline as a runner knows it, or None."""
    kind = entry.type.split('.')[-1]
    by_cv2 = entry.get('backend', 'cv2') == 'cv2' and entry.get('interpolation') in (
        None,
        'bilinear',
    )
    if kind == 'Resize' and by_cv2 and _is_pair(entry.get('scale')):
        keep_ratio = bool(entry.get('keep_ratio', False))
        return dict(kind='resize', scale=list(entry.scale), keep_ratio=keep_ratio)
    if kind == 'ResizeToMultiple' and by_cv2:
        return dict(kind='multiple', divisor=entry.get('size_divisor', 32))
    by_pillow = (entry.get('backend'), entry.get('interpolation')) == ('pillow', 'bicubic')
    if kind == 'ResizeEdge' and by_pillow and entry.get('edge', 'short') == 'short':
        return dict(kind='short_side', scale=entry.scale)
    if kind == 'CenterCrop' and not entry.get('auto_pad'):
        size = entry.crop_size
        return dict(kind='crop', size=[size, size] if isinstance(size, Number) else list(size))
    return None


def _is_pair(scale: object) -> bool:
    return isinstance(scale, Sequence) and len(scale) == 2 and isinstance(scale[0], Number)


def _describe_anchors(head: nn.Module) -> dict:
    generator, test_cfg = head.prior_generator, head.test_cfg
    return dict(
        base=[anchors.tolist() for anchors in generator.base_anchors],
        strides=[list(stride) for stride in generator.strides],  # across, down
        coder=_coder(head.bbox_coder),
        score_thr=test_cfg.get('score_thr', 0),
        nms_pre=test_cfg.get('nms_pre', -1),
        min_bbox_size=test_cfg.get('min_bbox_size', -1),
        iou_threshold=test_cfg.nms.iou_threshold,
        max_per_img=test_cfg.max_per_img,
    )


def _coder(coder: object) -> dict:
    return dict(
        means=list(coder.means),
        stds=list(coder.stds),
        clip=bool(coder.clip_border),
        min_wh_ratio=MIN_WH_RATIO,
    )


def fixed_size(cfg: Config, task: str) -> tuple[int, int]:
    """Return the height and width in px that a graph of one size gets.

    A detector's is that of a landscape image of the test pipeline's scale; a segmentor's the
    training crop's; a classifier's, and a backbone's within one, the test crop's.

    Raises:
        UserError: the config does not say.
    """
    pipeline = next(unwrap(cfg.test_dataloader.dataset)).pipeline
    own = cfg.model.get('data_preprocessor') or {}
    size = own.get('size')
    for entry in pipeline:
        if entry.type.endswith('CenterCrop'):
            size = entry.crop_size
        elif entry.type.endswith('Resize') and size is None and _is_pair(entry.get('scale')):
            size = min(entry.scale), max(entry.scale)
    if size is None:
        raise UserError(f'{cfg.filename} states no image size; give one: --size HEIGHT WIDTH')
    height, width = (size, size) if isinstance(size, Number) else size
    divisor = own.get('pad_size_divisor', 1)
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor
