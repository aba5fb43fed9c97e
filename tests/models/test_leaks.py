"""Memory does not grow from step to step (leaks_proof.py runs more of them, and whole tools)."""

from pathlib import Path

import leaks
import pytest
import torch
from families import FIRST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path('/proc/self/statm').exists(), reason='reads resident memory from /proc'
    ),
]


@pytest.mark.parametrize('training', [True, False], ids=['training', 'inference'])
@pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
def test_memory_does_not_grow(name, kind, training):
    step = leaks.backbone_steps(name, kind, training, sides=(64, 96))
    assert leaks.growth(step, steps=40, settled=20) < leaks.LIMIT


def test_a_leak_is_noticed():
    kept = []
    step = lambda _: kept.append(torch.ones(2**21))  # noqa: E731
    assert leaks.growth(step, steps=20, settled=5) > leaks.LIMIT
