"""Hands mmcv's compiled ops tensors that they can read.

They expect contiguous tensors, and most do not check. RoIAlign of a channels_last map, such as a
convolution after these backbones gives, is silently wrong
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

    What they do not know is computed in float32, and returned in the type that the first tensor of
    numbers had.
    """
    extension = sys.modules.get(EXTENSION)
    if extension is None or extension.__spec__.origin == SERVED:
        return  # torchvision's own see to it
    for function in _functions(package.__name__):
        if not getattr(function.forward, 'knows_glmix_mm', False):
            function.forward = staticmethod(_as_given(_readable(function.forward)))
            # Autograd itself gives gradients the type of what they belong to.
            if 'backward' in vars(function):
                function.backward = staticmethod(_readable(function.backward))


def _functions(package: str) -> Iterator[type[Function]]:
    """Find the autograd functions that a package's modules define."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith(f'{package}.'):
            for value in vars(module).values():
                # Not torch's own base class, which they import.
                if (
                    isinstance(value, type)
                    and issubclass(value, Function)
                    and value is not Function
                ):
                    yield value


def _readable(method: Callable) -> Callable:
    @functools.wraps(method)
    def call(ctx, *arguments):
        return method(ctx, *(_copied(a) if isinstance(a, Tensor) else a for a in arguments))

    call.knows_glmix_mm = True
    return call


def _as_given(method: Callable) -> Callable:
    """Let a method return the type of its first tensor of numbers, if the op does not know that."""

    @functools.wraps(method)
    def call(ctx, *arguments):
        results = method(ctx, *arguments)
        first = next(
            (a for a in arguments if isinstance(a, Tensor) and a.is_floating_point()), None
        )
        if first is None or not _unknown(first):
            return results
        if isinstance(results, tuple):
            return tuple(_cast(result, first.dtype) for result in results)
        return _cast(results, first.dtype)

    return call


def _cast(result, dtype: torch.dtype):
    computed = isinstance(result, Tensor) and result.dtype == torch.float32
    return result.to(dtype) if computed else result


def _copied(tensor: Tensor) -> Tensor:
    """Return a tensor that a compiled op can read: the same one, if it can."""
    return (tensor.float() if _unknown(tensor) else tensor).contiguous()


def _unknown(tensor: Tensor) -> bool:
    """Tell whether the compiled ops lack a tensor's type."""
    on_cpu = tensor.device.type == 'cpu'
    return tensor.dtype == torch.bfloat16 or (tensor.dtype == torch.float16 and on_cpu)


PATCHES = {'mmcv.ops': patch_functions}
