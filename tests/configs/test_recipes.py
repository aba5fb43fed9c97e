"""Every config comes to the recipe in recipes.json; `python tests/configs/recipes.py` writes it."""

import json

import pytest
from recipes import ABSENT, read, recipe
from shipped_configs import NAMES


@pytest.fixture(scope='module')
def recipes():
    return read()


def test_there_is_a_recipe_of_each_config(recipes):
    assert list(recipes) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_recipe(load, recipes, name):
    found, expected = json.loads(json.dumps(recipe(load(name)))), recipes[name]
    different = [
        f'{name}: {key} is {found.get(key, ABSENT)!r}, not {expected.get(key, ABSENT)!r}'
        for key in expected | found
        if found.get(key, ABSENT) != expected.get(key, ABSENT)
    ]
    assert not different, '\n'.join(different)
