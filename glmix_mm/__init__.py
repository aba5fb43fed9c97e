"""GLNet, DilateFormer and FCViT for mmdetection, mmsegmentation and mmpretrain.

Importing the package prepares the platform (``glmix_mm.compat``). Then it registers everything in
mmengine's root registries, where mmdet, mmseg and mmpretrain find it, and in timm's if that is
imported. ``from glmix_mm import load`` gives a model that is called on images.
``from glmix_mm import GLNet`` (DilateFormer, FCViT) gives a backbone.
"""

import importlib

from .utils import commands
from .version import __version__  # noqa: F401

is_set_up = False


def set_up() -> None:
    """Prepare the platform and register everything: what ``import glmix_mm`` does by itself."""
    global is_set_up
    from . import compat

    compat.ready()

    from . import models  # noqa: F401  (after the platform is ready)
    from .checkpoints import safe_reading
    from .inference import picture_hook  # noqa: F401
    from .slots import slot_hook  # noqa: F401
    from .training import amp, class_weight_hook, finite_hook, layer_decay  # noqa: F401
    from .utils import old_names

    safe_reading.install()
    old_names.install()
    is_set_up = True
    compat.install({'timm.models': _add_timm_models})


def _add_timm_models(module) -> None:
    importlib.import_module('.models.timm_models', __name__)


commands.refuse_other_modules()
if not commands.is_command_line():  # that does it once it knows its command
    set_up()


_MODULES = dict(
    load='.inference.load', GLNet='.models', DilateFormer='.models', FCViT='.models'
)  # what is imported when it is first asked for


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
