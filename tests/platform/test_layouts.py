"""mmcv's ops, compiled or served, give the same for maps of either memory layout."""

import pytest
import torch

import glmix_mm  # noqa: F401  (so that mmcv.ops can be imported)

# isort: split
from mmcv import ops

BOXES = torch.tensor([[0, 3.0, 4, 15, 17], [1, 0.0, 2, 21, 9]])
GRID = (2, 8, 20, 30)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CASES = {
    'RoIAlign': (ops.RoIAlign(7, 0.5), [random(*GRID)], [BOXES]),
    'DeformConv2d': (
        ops.DeformConv2d(8, 4, 3, padding=1),
        [random(*GRID), random(2, 18, 20, 30, seed=1)],
        [],
    ),
    'ModulatedDeformConv2d': (
        ops.ModulatedDeformConv2d(8, 4, 3, padding=1),
        [random(*GRID), random(2, 18, 20, 30, seed=1), random(2, 9, 20, 30, seed=2)],
        [],
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_ops_do_not_depend_on_the_layout(name):
    op, maps, rest = CASES[name]
    outcomes = []
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = [m.to(memory_format=layout, copy=True).requires_grad_() for m in maps]
        out = op(*inputs, *rest)
        weights = random(*out.shape, seed=3).to(memory_format=layout)
        gradients = torch.autograd.grad(out, [*inputs, *op.parameters()], weights)
        outcomes.append([out, *gradients])
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-4, atol=1e-4)
