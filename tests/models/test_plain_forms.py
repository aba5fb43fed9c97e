"""The plain forms beside the fast ones: the same numbers and gradients, op by op and as a whole."""

import runpy

import golden
import pytest
import torch
from families import SMALL, build_small, randomised
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from glmix_mm.models.ops import is_plain, plain, switch
from glmix_mm.models.ops.attention import attention, plain_attention
from glmix_mm.models.ops.cosine_logits import cosine_logits
from glmix_mm.models.ops.depthwise import DepthwiseConv2d, ResidualDepthwiseConv2d
from glmix_mm.models.ops.dilated_attention import attend_to_neighbours
from glmix_mm.models.ops.head_products import add_by_head, compare_heads
from glmix_mm.models.ops.pointwise import GELULinear, GELUPointwise, Pointwise

EXACT = dict(rtol=1e-10, atol=1e-12)


class Operators(TorchDispatchMode):
    """Remembers the names of the operators that ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def results(model, x, training):
    """Return a backbone's outputs and, in training, the gradients of input and parameters."""
    model.train(training)
    x = x.clone().requires_grad_(training)
    with torch.set_grad_enabled(training):
        outputs = model(x)
    if not training:
        return list(outputs)
    sum(
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum() for out in outputs
    ).backward()
    gradients = [x.grad, *(parameter.grad for parameter in model.parameters())]
    model.zero_grad()
    return [*(out.detach() for out in outputs), *gradients]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(('name', 'kind'), SMALL)
def test_backbones(name, kind, training, monkeypatch):
    monkeypatch.setattr('glmix_mm.models.ops.row_chunks.ELEMENTS', 2**9)
    torch.set_default_dtype(torch.float64)
    try:
        model = randomised(build_small(name, kind))
        x = golden.image(2, 65, 50)
        fast = results(model, x, training)
        with plain():
            slow = results(model, x, training)
        with Operators() as seen, plain():
            results(model, x, training)
    finally:
        torch.set_default_dtype(torch.float32)
    for own, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-8)
    fused = [name for name in seen.names if 'glmix_mm' in name or 'scaled_dot_product' in name]
    assert not fused, 'only elementary operations'


def test_attention_and_logits():
    query, key, value = torch.randn(3, 2, 4, 7, 8, dtype=torch.float64)
    fast = attention(query, key, value)
    torch.testing.assert_close(fast, plain_attention(query, key, value), **EXACT)
    tokens, slots = torch.randn(2, 9, 8, dtype=torch.float64), torch.randn(2, 5, 8).double()
    tokens[0, 3] = 0  # a zero vector is like no slot
    fast = cosine_logits(tokens, slots, torch.tensor(0.7).double())
    with plain():
        slow = cosine_logits(tokens, slots, torch.tensor(0.7).double())
    torch.testing.assert_close(fast, slow, **EXACT)
    assert (slow[0, 3] == 0).all()


def test_products_by_head():
    tokens, vector = torch.randn(2, 9, 16).double(), torch.randn(2, 16).double()
    weights = torch.randn(2, 9, 8).double()
    for function in (
        lambda: compare_heads(tokens, vector, 8),
        lambda: add_by_head(tokens, weights, vector),
    ):
        fast = function()
        with plain():
            torch.testing.assert_close(fast, function(), **EXACT)


@pytest.mark.parametrize('size', [(1, 1), (4, 9), (11, 7)], ids=str)
def test_dilated_attention(size):
    qkv = torch.randn(2, *size, 3 * 36, dtype=torch.float64)
    fast = attend_to_neighbours(qkv, 6, (1, 2, 3))
    with plain():
        torch.testing.assert_close(fast, attend_to_neighbours(qkv, 6, (1, 2, 3)), **EXACT)


@pytest.mark.parametrize(
    'make',
    [
        lambda: DepthwiseConv2d(8, 11),
        lambda: ResidualDepthwiseConv2d(8, 3),
        lambda: Pointwise(8, 6),
        lambda: GELUPointwise(8, 6),
        lambda: nn.Sequential(nn.Flatten(2), GELULinear(11 * 13, 6)),
    ],
    ids=['depthwise', 'residual depthwise', 'pointwise', 'GELU pointwise', 'GELU linear'],
)
def test_layers(make):
    layer = make().double()
    x = torch.randn(2, 8, 11, 13, dtype=torch.float64)
    found = {}
    for on in (False, True):
        leaf = x.clone().requires_grad_()
        with plain(on):
            out = layer(leaf)
            out.pow(2).sum().backward()
        found[on] = [out.detach(), leaf.grad, *(p.grad for p in layer.parameters())]
        layer.zero_grad()
    for own, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(own, other, **EXACT)


def test_the_switch(monkeypatch):
    assert not is_plain()
    with plain():
        with plain(False):
            assert not is_plain()
        assert is_plain()
    with pytest.raises(ZeroDivisionError), plain():
        raise ZeroDivisionError
    assert not is_plain()
    for value in ('1', '0'):
        monkeypatch.setenv('GLMIX_PLAIN', value)
        assert runpy.run_path(switch.__file__)['is_plain']() == (value == '1')
