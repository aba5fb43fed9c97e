"""GLNet, DilateFormer and FCViT for mmdetection, mmsegmentation and mmpretrain.

Importing the package readies the platform (``glmix_mm.platform``), then registers everything
in mmengine's root registries, where mmdet, mmseg and mmpretrain find it.
"""

from . import doctor, platform

if not doctor.is_running():  # it has to run where these fail
    platform.ready()

    from . import models  # noqa: F401  (after the platform is ready)
    from .engine import amp, finite, layer_decay  # noqa: F401
    from .visualization import hook  # noqa: F401

__version__ = '0.1.0'
