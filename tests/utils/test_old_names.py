"""Names of modules that configs written for version 0.1.0 import."""

import importlib

import pytest

from glmix_mm.utils.old_names import NEW_NAMES


@pytest.mark.parametrize('old', NEW_NAMES)
def test_old_names_give_the_same_classes(old):
    new = importlib.import_module(f'glmix_mm.{NEW_NAMES[old]}')
    with pytest.warns(DeprecationWarning, match=NEW_NAMES[old]):
        module = importlib.import_module(f'glmix_mm.{old}')
    classes = [value for value in vars(new).values() if isinstance(value, type)]
    assert classes and all(getattr(module, kind.__name__) is kind for kind in classes)
