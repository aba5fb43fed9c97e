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

from .bbox_overlaps import bbox_overlaps
from .carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from .deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .deform_roi_pool import deform_roi_pool_backward, deform_roi_pool_forward
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .info import get_compiler_version, get_compiling_cuda_version
from .masked_conv import masked_col2im_forward, masked_im2col_forward
from .nms import nms, nms_match, softnms
from .psamask import psamask_backward, psamask_forward
from .roi_align import roi_align_backward, roi_align_forward
from .roi_pool import roi_pool_backward, roi_pool_forward
from .sync_bn import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)

FUNCTIONS = (
    bbox_overlaps,
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    deform_roi_pool_backward,
    deform_roi_pool_forward,
    get_compiler_version,
    get_compiling_cuda_version,
    masked_col2im_forward,
    masked_im2col_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    nms,
    nms_match,
    psamask_backward,
    psamask_forward,
    roi_align_backward,
    roi_align_forward,
    roi_pool_backward,
    roi_pool_forward,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
    softnms,
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)

WAYS_OUT = (
    "choose another layer (docs/ops.md lists mmcv's ops), or pip uninstall mmcv-lite and install "
    'the full mmcv (>=2.0.0, <2.2.0) built for your torch: mim install mmcv, or where there is no '
    'wheel for it, mmcv compiled from source with -std=c++20 in its setup.py, which a current '
    'torch requires. glmix_mm then uses that mmcv unchanged'
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
            f"mmcv op '{name}' needs the compiled mmcv: the installed mmcv has no compiled ops, "
            f'and glmix_mm does not serve this one; {WAYS_OUT}'
        )

    unserved.__name__ = name
    return unserved
