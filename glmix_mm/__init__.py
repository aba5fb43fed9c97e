"""GLNet, DilateFormer and FCViT for mmdetection, mmsegmentation and mmpretrain.

Importing the package readies the platform (``glmix_mm.platform``), then registers everything
in mmengine's root registries, where mmdet, mmseg and mmpretrain find it.
"""

from . import platform

platform.ready()

from . import models  # noqa: E402, F401  (after the platform is ready)
from .engine import amp, finite  # noqa: E402, F401

__version__ = '0.1.0'
