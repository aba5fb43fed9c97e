"""What makes the OpenMMLab stack run on a current Python and torch, one file a concern."""

import warnings

from .startup import PATCHES, config_root, install, resolve_config

__all__ = ['config_root', 'install', 'ready', 'resolve_config']


def ready() -> None:
    """Ready the platform; idempotent, and called by ``import glmix_mm``."""
    from . import checkpoint, compiled_ops, files, loading, losses, scoring

    # mmengine uses it; requirements/runtime.txt keeps the setuptools that still has it.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    for concern in (compiled_ops, loading, losses, scoring):
        PATCHES.update(concern.PATCHES)
    install()
    checkpoint.install()
    files.install()
