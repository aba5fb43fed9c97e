"""Replaces the compiled ``mmcv._ext`` with ops that torchvision and torch can compute.

:func:`provide` fills the module with functions of the names and calling conventions of mmcv's C++
ones (its ``pybind.cpp``), so mmcv's own Python files run unchanged. Any other op of mmcv
exists by name, because mmcv looks the names up when it is imported. Its first call raises an error
that says that the op needs the compiled mmcv. Results equal mmcv's. Half-precision input is
computed in float32 and the result rounded once.
"""

from collections.abc import Callable
from types import ModuleType

from glmix_mm.errors import UserError

from .deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .info import get_compiler_version, get_compiling_cuda_version
from .nms import nms, nms_match, softnms
from .roi_align import roi_align_backward, roi_align_forward
from .roi_pool import roi_pool_backward, roi_pool_forward

FUNCTIONS = (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    get_compiler_version,
    get_compiling_cuda_version,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    nms,
    nms_match,
    roi_align_backward,
    roi_align_forward,
    roi_pool_backward,
    roi_pool_forward,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
    softnms,
)

SERVED = (
    'nms, soft_nms, nms_match, RoIAlign (average), RoIPool, sigmoid and softmax focal loss, '
    'DeformConv2d, ModulatedDeformConv2d and multi-scale deformable attention'
)


def provide(module: ModuleType) -> None:
    """Fill ``module`` with the served ops, and with a clear error for every other name.

    Args:
        module: the module object that becomes ``mmcv._ext``.
    """
    for function in FUNCTIONS:
        setattr(module, function.__name__, function)
    module.__getattr__ = _unserved


def _unserved(name: str) -> Callable:
    """Return a function that raises when called; the module's ``__getattr__`` (PEP 562)."""
    if name.startswith('_'):  # Python's own probes (__path__, ...); no op is named so.
        raise AttributeError(f"module 'mmcv._ext' has no attribute {name!r}")

    def unserved(*args, **kwargs):
        raise UserError(
            f"mmcv op '{name}' needs the compiled mmcv, and the installed mmcv has no compiled "
            f'ops: without them glmix_mm serves {SERVED}. For this op, pip uninstall mmcv-lite and '
            'install the full mmcv (>=2.0.0, <2.2.0) built for your torch: mim install mmcv, or '
            'where there is no wheel for it, mmcv compiled from source with -std=c++20 in its '
            'setup.py, which a current torch requires. glmix_mm then uses that mmcv unchanged'
        )

    unserved.__name__ = name
    return unserved
