"""mmcv's ops, compiled or served, take maps of either memory layout and of low precision."""

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


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('name', CASES)
def test_ops_take_low_precision(name, dtype):
    op, maps, rest = CASES[name]
    outcomes = []
    for kind in (torch.float32, dtype):
        inputs = [m.to(dtype).to(kind).requires_grad_() for m in maps]
        parameters = {k: p.detach().to(dtype).to(kind) for k, p in op.named_parameters()}
        out = torch.func.functional_call(op, parameters, (*inputs, *rest))
        outcomes.append([out, *torch.autograd.grad(out.float().square().mean(), inputs)])
        assert [i.dtype for i in inputs] == [g.dtype for g in outcomes[-1][1:]]
    for found, expected in zip(outcomes[1], outcomes[0], strict=True):
        assert (found.float() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_nms_takes_low_precision(dtype):
    corners = torch.randint(0, 100, (200, 2), generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners, corners + 28], dim=1).to(dtype)  # whole numbers are exact
    scores = torch.linspace(0, 0.99, 200).to(dtype)
    _, kept = ops.nms(boxes, scores, 0.5)
    _, expected = ops.nms(boxes.float(), scores.float(), 0.5)
    assert 10 < len(kept) < 150
    assert kept.tolist() == expected.tolist()
