"""Finds layers whose mmcv op is not served, before training calls them."""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from glmix_mm.errors import UserError

from .ops import FUNCTIONS, WAYS_OUT
from .startup import EXTENSION

CALL = re.compile(r'\bext_module\.(\w+)')  # how mmcv's files call compiled functions
NMS_KINDS = ('nms_rotated', 'nms_quadri')


def check_layers(model: nn.Module, settings: Mapping) -> None:
    """Refuse a model with a layer, or a kind of NMS, whose op is not served.

    Args:
        model: the model.
        settings: its part of the config, which names the kinds of NMS.

    Raises:
        UserError: there is one, and no compiled mmcv.
    """
    extension = sys.modules.get(EXTENSION)
    if extension is None or extension.__spec__.origin != 'glmix_mm':
        return
    for place, kind, op in [*_layers(model), *_kinds_of_nms(settings, 'model')]:
        raise UserError(
            f'{place} ({kind}) needs the mmcv op {op!r}, which is not served; {WAYS_OUT}'
        )


def _layers(model: nn.Module) -> Iterator[tuple[str, str, str]]:
    """Yield the name and class of each layer of mmcv.ops and an op that it lacks."""
    served = {function.__name__ for function in FUNCTIONS}
    for name, layer in model.named_modules():
        for kind in type(layer).__mro__:
            if not kind.__module__.startswith('mmcv.ops.'):
                continue
            source = inspect.getsource(sys.modules[kind.__module__])
            for op in sorted({*CALL.findall(source)} - served):
                yield name, type(layer).__name__, op
            if getattr(layer, 'pool_mode', None) == 'max':  # RoIAlign's other mode
                yield name, type(layer).__name__, "roi_align with pool_mode='max'"


def _kinds_of_nms(settings: object, place: str) -> Iterator[tuple[str, str, str]]:
    """Yield where the settings of a model name a kind of NMS that is not served."""
    if isinstance(settings, Mapping):
        if settings.get('type') in NMS_KINDS:
            yield place, 'NMS', settings['type']
        inner = settings.items()
    elif isinstance(settings, Sequence) and not isinstance(settings, str):
        inner = enumerate(settings)
    else:
        return
    for key, value in inner:
        yield from _kinds_of_nms(value, f'{place}.{key}')
