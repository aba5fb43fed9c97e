"""Feed-forward networks chunk by chunk: the same numbers, whatever the chunks, and less memory."""

import golden
import pytest
import torch
from families import FIRST, SMALL, build_small, randomised
from torch import nn
from torch.nn import functional as F

from glmix_mm.models.ffn import MLP, ConvFFN
from glmix_mm.models.ops import row_chunks
from glmix_mm.models.ops.pointwise import GELULinear, Pointwise, gelu_linear
from glmix_mm.profiling.memory import peak_bytes

every_kind = pytest.mark.parametrize(('name', 'kind'), SMALL, ids=lambda value: value)


def outputs_and_gradients(model, x):
    model.zero_grad()
    maps = model(x)
    sum(m.square().mean() for m in maps).backward()
    with torch.no_grad():
        inferred = model(x)
    return [*maps, *inferred, *(p.grad.clone() for p in model.parameters())]


@every_kind
@pytest.mark.parametrize('elements', [1, 3000])
@pytest.mark.parametrize('size', [(1, 64, 95), (2, 65, 64)], ids=str)
def test_strips_change_nothing(name, kind, elements, size, monkeypatch):
    model = randomised(build_small(name, kind)).eval()
    whole = outputs_and_gradients(model, golden.image(*size))
    monkeypatch.setattr(row_chunks, 'ELEMENTS', elements)
    cut = outputs_and_gradients(model, golden.image(*size))
    for found, expected in zip(cut, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ('length', 'elements', 'expected'),
    [(0, 5, []), (7, 4, [(0, 3), (3, 6), (6, 7)]), (2, 100, [(0, 1), (1, 2)]), (4, 0, [(0, 4)])],
)
def test_strips_cover_all_rows_once(length, elements, expected, monkeypatch):
    monkeypatch.setattr(row_chunks, 'ELEMENTS', 12)
    assert list(row_chunks.row_chunks(length, elements)) == expected


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('frozen', [(), ('x',), ('weight', 'bias')], ids=str)
def test_gradients_of_gelu_linear_equal_torchs(dtype, frozen, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(row_chunks, 'ELEMENTS', 7 * 6)
    values = dict(x=torch.randn(2, 5, 6), weight=torch.randn(4, 6), bias=torch.randn(4))
    ours, torchs = ({k: v.to(dtype, copy=True) for k, v in values.items()} for _ in range(2))
    torchs = {key: value.double() for key, value in torchs.items()}
    grad = torch.randn(2, 5, 4).to(dtype)
    for tensors in (ours, torchs):
        for key, value in tensors.items():
            value.requires_grad_(key not in frozen)
    out = gelu_linear(**ours)
    expected = F.linear(F.gelu(torchs['x']), torchs['weight'], torchs['bias'])
    out.backward(grad)
    expected.backward(grad.double())
    tolerance = 1e-12 if dtype == torch.float64 else 0.02
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    for key in values:
        if key in frozen:
            assert ours[key].grad is None
            continue
        found, reference = ours[key].grad, torchs[key].grad
        assert found.dtype == dtype
        assert (found.double() - reference).norm() <= tolerance * reference.norm()


def test_autocast_gives_float32_gradients_to_float32_weights():
    torch.manual_seed(0)
    layer, x = GELULinear(8, 4), torch.randn(3, 50, 8, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    found = [x.grad, layer.weight.grad, layer.bias.grad]
    x.grad = layer.weight.grad = layer.bias.grad = None
    F.linear(F.gelu(x), layer.weight, layer.bias).square().sum().backward()
    for grad, expected in zip(found, [x.grad, layer.weight.grad, layer.bias.grad], strict=True):
        assert grad.dtype == torch.float32
        assert (grad - expected).norm() < 0.02 * expected.norm()


def test_pointwise_is_a_convolution():
    torch.manual_seed(0)
    ours = Pointwise(5, 7).double()
    conv = nn.Conv2d(5, 7, 1).double()
    conv.load_state_dict(ours.state_dict())
    for layout in (torch.contiguous_format, torch.channels_last):
        x = golden.image(2, 9, 6)[:, :1].repeat(1, 5, 1, 1).contiguous(memory_format=layout)
        torch.testing.assert_close(ours(x), conv(x), rtol=1e-12, atol=1e-12)


def test_no_hidden_map_stands_in_memory_whole(monkeypatch):
    monkeypatch.setattr(row_chunks, 'ELEMENTS', 2**14)
    x = torch.randn(1, 8, 128, 128).contiguous(memory_format=torch.channels_last)
    unit = x.numel() * x.element_size()
    for ffn in (MLP(8, 64), ConvFFN(8, 64, depthwise=True)):
        with torch.no_grad():
            assert peak_bytes(lambda ffn=ffn: ffn(x)) < 4 * unit  # a hidden map has 8 units


def test_the_gelu_is_not_kept_for_the_backward_pass():
    x = torch.randn(1, 8, 64, 64).contiguous(memory_format=torch.channels_last)
    unit = x.numel() * x.element_size()
    for ffn, maps in ((MLP(8, 64), 1), (ConvFFN(8, 64, depthwise=True), 2)):
        saved = {}

        def keep(tensor, saved=saved):
            saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            ffn(x)
        assert sum(saved.values()) < (8 * maps + 2) * unit


@pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
@pytest.mark.parametrize('batch', [1, 2])
def test_every_block_keeps_maps_channels_last_in_training(name, kind, batch):
    """A batch of one with odd strides would silently go through NCHW kernels and copies."""
    model = build_small(name, kind)
    places = []

    def check(module, inputs, out):
        c, h, w = out.shape[1:]
        assert out.stride() == (h * w * c, 1, w * c, c), module
        places.append(module)

    for stage in model.stages:
        stage.embed.register_forward_hook(check)
        for block in stage.blocks:
            block.register_forward_hook(check)
    model(torch.randn(batch, 3, 96, 128))
    assert len(places) == 4 + sum(len(stage.blocks) for stage in model.stages)
