"""Inputs of any size from 32 px: sizes, batches, gradients and mirrored images (any_size.py)."""

import pytest
import torch
from any_size import LAWS, check, flip_law, images, model_of
from families import FIRST, SMALL

pytestmark = pytest.mark.slow

EXAMPLES = 6


@pytest.mark.parametrize('law', LAWS)
@pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
def test_laws_hold(name, kind, law):
    make, arguments = LAWS[law]
    check(make(name, kind), EXAMPLES, **arguments)


@pytest.mark.parametrize(('name', 'kind'), SMALL, ids=lambda value: value)
@pytest.mark.parametrize(('height', 'columns'), [(32, 1), (45, 2)])
def test_every_kind_is_mirrored(name, kind, height, columns):
    flip_law(name, kind)(1, height, columns)


@pytest.mark.parametrize('size', [(32, 32), (32, 700), (700, 32), (33, 63)], ids=str)
@pytest.mark.parametrize(('name', 'kind'), SMALL, ids=lambda value: value)
def test_extreme_sizes(name, kind, size):
    make, _ = LAWS['a batch is its images']
    law = make(name, kind)
    law(2, *size, training=False)
    law(1, *size, training=True)


def test_the_mirror_law_can_fail():
    """At an even width, windows of stride 2 are not mirrored onto each other."""
    law = flip_law('glnet', 'ovlp')
    law(1, 40, 1)
    model = model_of('glnet', 'ovlp').eval()
    x = images(1, 40, 64)
    with torch.no_grad():
        expected = model(x)
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.copy_(parameter.flip(3))
        found = model(x.flip(3))
    assert (found[0].flip(3) - expected[0]).abs().max() > 0.01 * expected[0].std()
