"""Import hooks that let the OpenMMLab packages run unchanged on a current platform.

Gaps must be closed before anyone imports ``glmix_mm``. mmdet's own ``tools/train.py`` imports
``mmcv.ops``, which needs the compiled ``mmcv._ext``, in its first lines. A config's ``_base_ =
'glmix_mm::...'`` is resolved before its ``custom_imports``. mmdet's and mmseg's inferencers take a
name for one of their own models. An installed wheel therefore contains this file as
``_glmix_mm_startup.py``, and an editable installation one that runs it, with a ``.pth`` line that
imports it. So it runs at the start of every Python process. It uses the standard library only,
imports nothing early and replaces nothing that exists. ``GLMIX_STARTUP=0`` in the environment
disables it. ``import glmix_mm`` calls :func:`install` as well.

It should take no time there, so what Python has not loaded by then is imported where it is used,
and the finders and the loader are plain classes: ``importlib.abc`` alone takes 8 to 70 ms.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False  # typing's own would be loaded for it
if TYPE_CHECKING:
    from pathlib import Path

EXTENSION = 'mmcv._ext'
SWITCH = 'GLMIX_STARTUP'
CONFIG_PREFIX = 'glmix_mm::'
CLASSIFIERS = ('imagenet', 'ablation')  # folders of configs


def config_root() -> Path:
    """Return the folder of this package's configs: the installed copy, else the checkout's."""
    import importlib.util
    from pathlib import Path

    package = Path(importlib.util.find_spec('glmix_mm').origin).parent
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'


def resolve_config(name: str) -> str:
    """Return the path of the config ``glmix_mm::NAME``.

    The ending ``.py`` and the folder of a config may be left out.

    Raises:
        FileNotFoundError: no such config; the message lists the nearest names.
    """
    root = config_root()
    path = root / name.removeprefix(CONFIG_PREFIX)
    if not path.suffix:
        path = path.with_suffix('.py')
    if path.is_file():
        return str(path)
    if path.parent == root:
        for folder in sorted(root.iterdir()):
            if folder.name != '_base_' and (folder / path.name).is_file():
                return str(folder / path.name)
    import difflib

    known = sorted(p.relative_to(root).as_posix() for p in root.rglob('*.py'))
    near = difflib.get_close_matches(path.name, known, n=3, cutoff=0.4)
    raise FileNotFoundError(
        f'no config {CONFIG_PREFIX}{path.relative_to(root)} in {root}'
        + (f'; did you mean {", ".join(near)}?' if near else '')
    )


def find_forked_package(module) -> None:
    """Let ``mmseg::`` paths find mmsegmentation's fork: mmengine knows the official name only."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution('mmsegmentation')
    except PackageNotFoundError:
        # mmengine looks for a module where it finds no distribution of a name.
        module.MODULE2PACKAGE['mmseg'] = 'mmseg'


def patch_config(module) -> None:
    """Make mmengine's ``Config`` understand ``glmix_mm::`` paths (it knows a fixed list)."""
    original = module.Config._get_cfg_path
    if getattr(original, 'knows_glmix_mm', False):
        return

    def get_cfg_path(cfg_path: str, filename: str):
        if cfg_path.startswith(CONFIG_PREFIX):
            # No scope: these configs name their default scope themselves.
            return resolve_config(cfg_path), None
        return original(cfg_path, filename)

    get_cfg_path.knows_glmix_mm = True
    module.Config._get_cfg_path = staticmethod(get_cfg_path)


class ServedExtensionFinder:
    """Serves ``mmcv._ext`` where no compiled one is found (it stands last in the search)."""

    def find_spec(self, fullname, path=None, target=None):
        """Return a spec for ``mmcv._ext`` only."""
        if fullname != EXTENSION:
            return None
        return ModuleSpec(fullname, ServedExtensionLoader(), origin='glmix_mm')


class ServedExtensionLoader:
    """Fills the module ``mmcv._ext`` with the functions of ``glmix_mm.compat.ops``."""

    def create_module(self, spec):
        """Use Python's default module object."""
        return None

    def exec_module(self, module):
        """Copy the served functions into the module."""
        from glmix_mm.compat.ops import provide

        provide(module)


def patch_inferencers(module) -> None:
    """Make mmdet's and mmseg's inferencers understand ``glmix_mm::`` names of configs."""
    original = module.BaseInferencer._load_model_from_metafile
    if getattr(original, 'knows_glmix_mm', False):
        return

    def load_model(self, model: str):
        if model.startswith(CONFIG_PREFIX):
            return module.Config.fromfile(resolve_config(model)), None  # no weights
        return original(self, model)

    load_model.knows_glmix_mm = True
    module.BaseInferencer._load_model_from_metafile = load_model


def add_classifiers(module) -> None:
    """Add this package's classifiers to mmpretrain's models, as ``glmix_mm::NAME``, no weights."""
    from modelindex.models.Model import Model

    root = config_root()
    task = dict(Task='Image Classification', Dataset='ImageNet-1k', Metrics={})
    for path in sorted(root.glob('*/*.py')):
        folder = path.parent.name
        if folder not in CLASSIFIERS and not path.stem.startswith('classifier_'):
            continue
        for name in (path.stem, f'{folder}/{path.stem}'):
            model = Model(name=CONFIG_PREFIX + name, results=[task], config=str(path))
            module.ModelHub._models_dict.setdefault(model.name.lower(), model)


def allow_negative_hues(module) -> None:
    """Let mmcv turn hues backwards: numpy 2 refuses to wrap a negative number of Python's."""
    original = module.adjust_hue
    if getattr(original, 'knows_glmix_mm', False):
        return
    from functools import wraps

    @wraps(original)
    def adjust_hue(img, hue_factor, backend=None):
        # numpy's own numbers it wraps as before.
        return original(img, module.np.float64(hue_factor), backend)

    adjust_hue.knows_glmix_mm = True
    for name in ('mmcv.image.photometric', 'mmcv.image', 'mmcv'):
        if hasattr(sys.modules.get(name), 'adjust_hue'):  # the last two may not be filled yet
            sys.modules[name].adjust_hue = adjust_hue


PATCHES = {
    'mmcv.image.photometric': allow_negative_hues,
    'mmengine.config.utils': find_forked_package,
    'mmengine.config.config': patch_config,
    'mmengine.infer.infer': patch_inferencers,
    'mmpretrain.apis.model': add_classifiers,
}


class PatchFinder:
    """Patches modules of mmengine and timm right after they are first imported.

    Attributes:
        patches: what to call on a module, by the module's name. The finder of the start of Python,
            which comes from another copy of this file, is given what ``glmix_mm`` adds.
    """

    def __init__(self):
        self.patches = {}

    def find_spec(self, fullname, path=None, target=None):
        """Wrap the loaders of the modules in ``patches``; leave every other module alone."""
        patch = self.patches.get(fullname)
        if patch is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_and_patch(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_and_patch
        return spec


def install(more: dict | None = None) -> None:
    """Install both hooks, once.

    Args:
        more: what to patch besides ``PATCHES``: what to call on a module, by the module's name.
    """
    patches = {**PATCHES, **(more or {})}
    finders = {type(finder).__name__: finder for finder in sys.meta_path}
    if ServedExtensionFinder.__name__ not in finders:
        sys.meta_path.append(ServedExtensionFinder())
    for name, patch in patches.items():
        if name in sys.modules:
            patch(sys.modules[name])
    if PatchFinder.__name__ not in finders:
        finders[PatchFinder.__name__] = PatchFinder()
        sys.meta_path.insert(0, finders[PatchFinder.__name__])
    finders[PatchFinder.__name__].patches.update(patches)


if __name__ == '_glmix_mm_startup':
    import os  # loaded by then

    if os.environ.get(SWITCH) != '0':
        install()
