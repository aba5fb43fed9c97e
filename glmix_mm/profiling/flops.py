"""Multiply-adds and parameters of a whole model, split into its parts.

What is counted: the multiply-adds (half the FLOPs) of matrix products and convolutions, in the
inference of one image: attention and slot products, depthwise and deformable convolutions, and
positions that are padded. What is not: norms, activations, sums, pooling, interpolation, RoIAlign
and post-processing. Published figures follow the same convention or are within 2 % of it (mmcv's
old counter adds 2 per element of a norm and 1 of an activation).

A GLMix block has three products of slots and positions: logits, clustering and dispatch. (A kernel
that computes the logits again for the second softmax would do four, 1.3 % more of GLNet-4G at
800 x 1280.) Dilated attention counts its 9 neighbours, as its paper does, though windows of its
keys are multiplied densely. FCViT's global context counts its products with block-diagonal matrices
as they run, 1 % of FCViT-B12.

Two-stage detectors are counted with 1000 proposals and 100 masks, in every stage of a cascade.
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode

from ..errors import UserError
from ..utils.messages import one_line
from ..utils.registry_errors import config_mistakes
from .counter import Cost, MultiplyAddCounter
from .samples import make_samples

PROPOSALS = 1000
MASKS = 100


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Attributes:
        name: its path in the part around it, such as 'roi_head.bbox_head'; 'other' is the rest.
        type: its class; empty for 'other'.
        parameters: number of parameters.
        multiply_adds: of one image; None if the part does not run at inference.
        parts: what it consists of, where that is of interest.
        attention: the multiply-adds of attention's two products among them; likewise.
    """

    name: str
    type: str
    parameters: int
    multiply_adds: int | None
    parts: tuple['Part', ...] = ()
    attention: int | None = None


@dataclass(frozen=True)
class Count:
    """What a model costs at one input size.

    Attributes:
        shape: height and width of the image, px.
        model: the model and its parts.
        not_counted: what may multiply matrices but was not counted.
        notice: why the model had to run on real tensors; empty otherwise.
    """

    shape: tuple[int, int]
    model: Part
    not_counted: tuple[str, ...] = ()
    notice: str = ''


def build(config: Config) -> nn.Module:
    """Build a config's model without memory for its weights, and without loading any.

    Raises:
        UserError: the config has no model, or a type in it is unknown or takes other arguments.
    """
    name = config.filename
    if 'model' not in config:
        raise UserError(f'{name}: the config has no `model`, only {", ".join(sorted(config))}')
    scope = DefaultScope.overwrite_default_scope(config.get('default_scope'))
    with config_mistakes(name), scope, EmptyOnMeta():
        return MODELS.build(copy.deepcopy(config.model))  # see models.build.build_model


def count(model: nn.Module, shape: Sequence[int] = (800, 1280)) -> Count:
    """Count a model at inference, whatever mode it is in; the model is left as it is.

    The model's copy runs on fake tensors, which have shapes but no memory, so any size takes a
    second or so. Only where the forward pass depends on values does it run on the CPU.

    Args:
        model: a detector, a segmentor, a classifier, or any module that maps images
            (1, 3, height, width) to something.
        shape: height and width of the image, px.

    Raises:
        UserError: the model cannot be run alone on an image of that size.
    """
    height, width = shape
    if min(height, width) < 1:
        raise UserError(f'the image must be at least 1 x 1 px, not {height} x {width}')
    try:
        try:
            return _count_fake(model, (height, width))
        except RuntimeError as error:  # what a fake tensor raises when its values are asked for
            reason = one_line(error).partition('. ')[0]
            notice = f'{type(model).__name__} needs values to run ({reason})'
            return _count_real(model, (height, width), notice)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f'{type(model).__name__} cannot be counted at {height} x {width}: '
            f'{type(error).__name__}: {one_line(error)}; expected a detector, a segmentor, a '
            'classifier or a backbone that runs on one image of that size'
        ) from error


def _count_fake(model: nn.Module, shape: tuple[int, int]) -> Count:
    # A compiled operator that knows no fake tensors must raise, not read memory that is not there.
    with torch._functorch.config.patch(fake_tensor_allow_unsafe_data_ptr_access=False):
        mode = FakeTensorMode(allow_non_fake_inputs=True)

        def fake(x: Tensor) -> Tensor:
            with mode:
                return torch.empty(x.shape, dtype=_dtype(x))

        twin = _twin(model, fake)
        with mode:
            return _count(twin, shape)


def _count_real(model: nn.Module, shape: tuple[int, int], notice: str) -> Count:
    def real(x: Tensor) -> Tensor:
        if x.is_meta:  # built without memory
            return torch.zeros(x.shape, dtype=_dtype(x))
        return x.to('cpu', _dtype(x), copy=True)

    return _count(_twin(model, real), shape, notice)


def _twin(model: nn.Module, make: Callable[[Tensor], Tensor]) -> nn.Module:
    """Copy a model with other tensors in place of its own, shared ones still shared."""
    memo = {id(x): nn.Parameter(make(x), requires_grad=False) for x in model.parameters()}
    memo |= {id(x): make(x) for x in model.buffers()}
    twin = copy.deepcopy(model, memo)
    twin.eval()
    return twin


def _dtype(x: Tensor) -> torch.dtype:
    return torch.float32 if x.is_floating_point() else x.dtype


@torch.no_grad()
def _count(model: nn.Module, shape: tuple[int, int], notice: str = '') -> Count:
    with MultiplyAddCounter(model) as counter:
        run_inference(model, torch.zeros(1, 3, *shape))
        total = counter.total
    if isinstance(model, BaseModel):
        parts = _parts(_children(model), _size(model), total, counter)
    else:
        parts = _stages(model, total, counter)
    root = _part('total', type(model).__name__, _size(model), total, parts)
    return Count(shape, root, tuple(counter.not_counted()) + _idle(parts), notice)


def run_inference(model: nn.Module, images: Tensor) -> None:
    """Run a model's networks on images (N, 3, H, W) as inference does, post-processing left out.

    The proposals of a two-stage detector are not computed but assumed, see ``PROPOSALS``.
    """
    if hasattr(model, 'roi_head'):
        _run_two_stage(model, images)
    elif isinstance(model, BaseModel):
        model(images, make_samples(images), mode='tensor')
    else:
        model(images)


def _run_two_stage(model: nn.Module, images: Tensor) -> None:
    features = model.extract_feat(images)
    if model.with_rpn:
        model.rpn_head(features)
    roi_head = model.roi_head
    for kind, regions in (('bbox', PROPOSALS), ('mask', MASKS)):
        heads = _as_list(getattr(roi_head, f'{kind}_head', None))
        extractors = _as_list(getattr(roi_head, f'{kind}_roi_extractor', None))
        for head, extractor in zip(heads, extractors, strict=True):
            size = extractor.roi_layers[0].output_size
            pooled = images.new_zeros(regions * len(images), extractor.out_channels, *size)
            if roi_head.with_shared_head:
                pooled = roi_head.shared_head(pooled)
            head(pooled)


def _as_list(modules: nn.Module | None) -> list[nn.Module]:
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def _children(model: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a detector, segmentor or classifier, those of the RoI head one by one."""
    children = {}
    for name, child in model.named_children():
        inner = child.named_children() if name == 'roi_head' else ()
        children |= {f'{name}.{key}': part for key, part in inner} or {name: child}
    return {name: child for name, child in children.items() if _size(child)}


def _part(
    name: str, kind: str, parameters: int, cost: Cost | None, parts: tuple[Part, ...] = ()
) -> Part:
    multiply_adds, attention = (cost.multiply_adds, cost.attention) if cost else (None, None)
    return Part(name, kind, parameters, multiply_adds, parts, attention)


def _parts(
    children: dict[str, nn.Module], parameters: int, cost: Cost, counter: MultiplyAddCounter
) -> tuple[Part, ...]:
    """Describe the children of a module, and as 'other' what they leave of its figures."""
    if not children:
        return ()
    parts = []
    for name, child in children.items():
        counted = counter.of(child)
        inner = _stages(child, counted, counter) if name == 'backbone' else ()
        kind = ', '.join(dict.fromkeys(type(part).__name__ for part in _as_list(child)))
        parts.append(_part(name, kind, _size(child), counted, inner))
        cost -= counted or Cost()
    parameters -= sum(part.parameters for part in parts)
    if parameters or cost.multiply_adds:
        parts.append(_part('other', '', parameters, cost))
    return tuple(parts)


def _stages(backbone: nn.Module, cost: Cost, counter: MultiplyAddCounter) -> tuple[Part, ...]:
    """Describe the stages of a backbone: ``stages`` or ``layers``, or ``layer1`` and so on."""
    stages = {}
    for name, child in backbone.named_children():
        if name in ('stages', 'layers'):
            stages |= {f'{name}.{key}': stage for key, stage in child.named_children()}
        elif re.fullmatch(r'(layer|stage)\d+', name):
            stages[name] = child
    return _parts(stages, _size(backbone), cost, counter)


def _idle(parts: tuple[Part, ...]) -> tuple[str, ...]:
    # Auxiliary heads are for training alone, embeddings are looked up; others may well be missed.
    return tuple(
        f'{part.name} ({part.type}), which was not run'
        for part in parts
        if part.multiply_adds is None
        and part.type != 'Embedding'
        and not part.name.startswith('auxiliary_head')
    )


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


class EmptyOnMeta(TorchFunctionMode):
    """Gives ``torch.empty`` no memory: layers allocate their weights with it, and nothing else.

    The whole meta device would not do, as constructors read the values of some tensors (drop path
    rates from ``torch.linspace``).
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get('device') is None:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)
