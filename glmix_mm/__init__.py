"""GLNet, DilateFormer and FCViT for mmdetection, mmsegmentation and mmpretrain.

Importing the package readies the platform (``glmix_mm.platform``), then registers everything
in mmengine's root registries, where mmdet, mmseg and mmpretrain find it, and in timm's if that is
imported. ``from glmix_mm import load`` gives a model that is called on images.
"""

from . import commands

__version__ = '0.1.0'
is_set_up = False


def set_up() -> None:
    """Ready the platform and register everything: what ``import glmix_mm`` does by itself."""
    global is_set_up
    from . import platform

    platform.ready()

    from . import models  # noqa: F401  (after the platform is ready)
    from .engine import amp, finite, layer_decay  # noqa: F401
    from .visualization import hook, picture_hook  # noqa: F401

    is_set_up = True
    platform.install()  # again: timm, if it is there already, is given models that are there by now


commands.refuse_other_modules()
if not commands.is_command_line():  # that does it once it knows its command
    set_up()


def __getattr__(name: str):
    """Import ``load`` when it is first asked for."""
    if name != 'load':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .engine.load import load

    return load
