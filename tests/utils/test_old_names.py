"""Names of modules of version 0.1.0, in configs and in programs."""

import importlib
import warnings
from types import FunctionType

import pytest

from glmix_mm.utils.old_names import FOLDERS, NEW_NAMES


@pytest.mark.parametrize('old', NEW_NAMES)
def test_old_names_give_the_same_objects(old):
    first = NEW_NAMES[old].split()[0]
    new = importlib.import_module(f'glmix_mm.{first}')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        module = importlib.import_module(f'glmix_mm.{old}')
    assert any(first in str(w.message) for w in caught if w.category is DeprecationWarning)
    own = {k: v for k, v in vars(new).items() if isinstance(v, (type, FunctionType))}
    own = {k: v for k, v in own.items() if v.__module__ == new.__name__}
    assert [k for k, v in own.items() if getattr(module, k) is not v] == []


def test_old_folders_give_their_modules():
    for folder in FOLDERS:
        assert importlib.import_module(f'glmix_mm.{folder}').__path__ is not None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from glmix_mm.engine import own_data
        from glmix_mm.engine.cli import find_device, one_line, run
    assert callable(own_data.classes_from_data) and all(map(callable, (find_device, one_line, run)))


def test_names_that_never_were_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('glmix_mm.engine.nothing')
