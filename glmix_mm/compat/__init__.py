"""What makes the OpenMMLab stack run on a current Python and torch, one file a concern.

It imports nothing else of this package but its errors.
"""

import warnings

from .startup import config_root, install, resolve_config

__all__ = ['config_root', 'install', 'ready', 'resolve_config']


def ready() -> None:
    """Prepare the platform; idempotent, and called by ``import glmix_mm``."""
    from . import compiled_ops

    # mmengine uses it; requirements/runtime.txt keeps the setuptools that still has it.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    install(compiled_ops.PATCHES)
