"""Lets configs that name modules of version 0.1.0 in ``custom_imports`` be read as before."""

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec

PACKAGE = __name__.partition('.')[0]
FOLDERS = ('engine', 'datasets')
NEW_NAMES = {
    'engine.amp': 'training.amp',
    'engine.metrics': 'inference.metrics',
    'engine.official': 'training.official_weights_hook',
    'engine.replay': 'training.exact_loops',
    'engine.resume': 'training.checkpoint_hook',
    'engine.strategies': 'training.sharding',
    'datasets.coco_by_name': 'data.coco_by_name',
    'datasets.tokenlabel_set': 'data.tokenlabel_set',
}


class OldNames:
    """A finder and loader that gives the module of the new name, with a warning."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        """Return a spec for the names above and the folders that they were in."""
        package, _, name = fullname.partition('.')
        if package != PACKAGE or name not in (*FOLDERS, *NEW_NAMES):
            return None
        return ModuleSpec(fullname, cls(), is_package=name in FOLDERS)

    def create_module(self, spec):
        """Import the module of the new name; of a folder, use Python's default module object."""
        new = NEW_NAMES.get(spec.name.partition('.')[2])
        if new is None:
            return None
        warnings.warn(
            f'{spec.name} is {PACKAGE}.{new} now; write that in custom_imports',
            DeprecationWarning,
            stacklevel=2,
        )
        # A second module object, so that the first one's own __spec__ stays as it is.
        module = type(sys)(spec.name)
        module.__dict__.update(
            (key, value)
            for key, value in vars(importlib.import_module(f'{PACKAGE}.{new}')).items()
            if not key.startswith('__')
        )
        return module

    def exec_module(self, module):
        """Do nothing: what the new name imports has run."""


def install() -> None:
    """Let the old names be imported."""
    if OldNames not in sys.meta_path:
        sys.meta_path.append(OldNames)
