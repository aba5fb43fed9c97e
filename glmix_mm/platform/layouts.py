"""Hands mmcv's compiled ops dense tensors.

They read memory as if each tensor lay in it axis by axis, and most do not check: RoIAlign of a
channels_last map, such as a convolution after these backbones gives, is silently wrong
(https://github.com/open-mmlab/mmcv/issues/2203), and a deformable convolution stops.
"""

import functools
import sys
from collections.abc import Callable, Iterator

from torch import Tensor
from torch.autograd import Function

from .startup import EXTENSION

SERVED = 'glmix_mm'  # the origin of an extension that is not compiled


def patch_functions(package) -> None:
    """Let every differentiable op of ``mmcv.ops`` have contiguous arguments and gradients."""
    extension = sys.modules.get(EXTENSION)
    if extension is None or extension.__spec__.origin == SERVED:
        return  # torchvision's own see to it
    for function in _functions(package.__name__):
        for name in ('forward', 'backward'):
            method = getattr(function, name)
            if not getattr(method, 'knows_glmix_mm', False):
                setattr(function, name, staticmethod(_dense(method)))


def _functions(package: str) -> Iterator[type[Function]]:
    """Find the autograd functions that a package's modules define."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith(f'{package}.'):
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, Function):
                    yield value


def _dense(method: Callable) -> Callable:
    @functools.wraps(method)
    def call(ctx, *arguments):
        return method(ctx, *(a.contiguous() if isinstance(a, Tensor) else a for a in arguments))

    call.knows_glmix_mm = True
    return call


PATCHES = {'mmcv.ops': patch_functions}
