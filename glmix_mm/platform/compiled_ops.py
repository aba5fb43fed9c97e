"""Hands mmcv's compiled ops tensors that they can read.

They take it that a tensor lies in memory axis by axis, and most do not check: RoIAlign of a
channels_last map, such as a convolution after these backbones gives, is silently wrong
(https://github.com/open-mmlab/mmcv/issues/2203), and a deformable convolution stops. None knows
bfloat16, and on a CPU NMS no float16 either.
"""

import functools
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd import Function

from .startup import EXTENSION

SERVED = 'glmix_mm'  # the origin of an extension that is not compiled


def patch_functions(package) -> None:
    """Let all autograd functions of ``mmcv.ops`` get what they can read, gradients as well.

    What was in bfloat16 is computed, and returned, in float32.
    """
    extension = sys.modules.get(EXTENSION)
    if extension is None or extension.__spec__.origin == SERVED:
        return  # torchvision's own see to it
    for function in _functions(package.__name__):
        for name in ('forward', 'backward'):
            method = getattr(function, name)
            if not getattr(method, 'knows_glmix_mm', False):
                setattr(function, name, staticmethod(_readable(method)))


def _functions(package: str) -> Iterator[type[Function]]:
    """Find the autograd functions that a package's modules define."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith(f'{package}.'):
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, Function):
                    yield value


def _readable(method: Callable) -> Callable:
    @functools.wraps(method)
    def call(ctx, *arguments):
        return method(ctx, *(_copied(a) if isinstance(a, Tensor) else a for a in arguments))

    call.knows_glmix_mm = True
    return call


def _copied(tensor: Tensor) -> Tensor:
    """Return a tensor that a compiled op can read: the same one, if it can."""
    unknown = tensor.dtype == torch.bfloat16
    unknown |= tensor.dtype == torch.float16 and tensor.device.type == 'cpu'
    return (tensor.float() if unknown else tensor).contiguous()


PATCHES = {'mmcv.ops': patch_functions}
