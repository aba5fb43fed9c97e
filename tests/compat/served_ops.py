"""What the tests of the served ops share."""

import sys
from types import ModuleType

import pytest
import torch

from glmix_mm.compat.ops import provide

# isort: split
# Only now, with the import hook of glmix_mm in place, can mmcv.ops be imported everywhere.
from mmcv import ops

__all__ = ['DEVICES', 'ops', 'random_boxes', 'served_module', 'use_served_ops']

DEVICES = [
    'cpu',
    pytest.param(
        'cuda',
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA'),
        ],
    ),
]

USERS = (
    'bbox',
    'carafe',
    'deform_conv',
    'deform_roi_pool',
    'focal_loss',
    'masked_conv',
    'modulated_deform_conv',
    'multi_scale_deform_attn',
    'nms',
    'psa_mask',
    'roi_align',
    'roi_pool',
    'sync_bn',
)


def served_module() -> ModuleType:
    """Return a module with the served ops, whether or not mmcv is compiled."""
    module = ModuleType('served')
    provide(module)
    return module


def use_served_ops(monkeypatch) -> None:
    """Let mmcv.ops call the served ops, where a compiled mmcv is installed as well."""
    served = served_module()
    for name in USERS:
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module', served)


def random_boxes(count: int, size: float, generator: torch.Generator) -> torch.Tensor:
    """Return [count, 4] float32 boxes x1, y1, x2, y2 that overlap a good deal."""
    center = torch.rand(count, 2, generator=generator) * size
    half = (torch.rand(count, 2, generator=generator) * 0.3 + 0.02) * size
    return torch.cat([center - half, center + half], dim=1)
