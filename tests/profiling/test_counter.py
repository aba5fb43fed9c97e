"""Every product against its size worked out by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import DeformConv2d

from glmix_mm.profiling import count
from glmix_mm.profiling.counter import Cost, MultiplyAddCounter


class Calls(nn.Module):
    """Runs a function of the images, so that a test reads as the operation it is about."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, images):
        return self.function(self, images)


def counted(function, **modules):
    return count(Calls(function, **modules), (8, 12)).model.multiply_adds


H, W = 8, 12  # images are (1, 3, 8, 12)


@pytest.mark.parametrize(
    ('conv', 'expected'),
    [
        (nn.Conv2d(3, 10, 1), H * W * 3 * 10),
        (nn.Conv2d(3, 10, 3, padding=1), H * W * 3 * 10 * 9),
        (nn.Conv2d(3, 10, 3, padding=1, stride=2), 4 * 6 * 3 * 10 * 9),
        (nn.Conv2d(3, 9, 5, padding=2, groups=3), H * W * 9 * 25),
        (nn.ConvTranspose2d(3, 10, 2, stride=2), H * W * 3 * 10 * 4),
        (nn.Conv2d(3, 10, 3, padding=2, dilation=2, bias=False), H * W * 3 * 10 * 9),
    ],
)
def test_convolutions(conv, expected):
    assert counted(lambda m, x: m.conv(x), conv=conv) == expected


def test_deformable_convolution():
    def run(m, x):
        return m.conv(x, x.new_zeros(1, 18, H, W), x.new_ones(1, 9, H, W))

    assert counted(run, conv=DeformConv2d(3, 10, 3, padding=1)) == H * W * 3 * 10 * 9


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (lambda m, x: x[0, 0] @ x[0, 1].T, H * W * H),
        (lambda m, x: x @ x.mT, 3 * H * W * H),
        (lambda m, x: torch.einsum('bchw,bdhw->bcd', x, x), 3 * 3 * H * W),
        (lambda m, x: torch.baddbmm(x[0] @ x[0].mT, x[0], x[0].mT), 2 * 3 * H * W * H),
        (lambda m, x: torch.addbmm(x.new_zeros(H, H), x[0], x[0].mT), 3 * H * W * H),
        (lambda m, x: x.new_zeros(H, H).addbmm_(x[0], x[0].mT), 3 * H * W * H),
        (lambda m, x: x.new_zeros(H, H).addmm_(x[0, 0], x[0, 0].T), H * W * H),
        (lambda m, x: x.new_zeros(3, H, H).baddbmm_(x[0], x[0].mT), 3 * H * W * H),
        (lambda m, x: x.new_zeros(H).addmv_(x[0, 0], x[0, 0, 0]), H * W),
        (lambda m, x: torch.mv(x[0, 0], x[0, 0, 0]), H * W),
        (lambda m, x: torch.addmv(x[0, 0, :, 0], x[0, 0], x[0, 0, 0]), H * W),
        (lambda m, x: torch.dot(x[0, 0, 0], x[0, 0, 1]), W),
        (lambda m, x: F.linear(x, x.new_zeros(7, W)), 3 * H * W * 7),
        (lambda m, x: F.scaled_dot_product_attention(x, x, x), 2 * 3 * H * H * W),
        (
            lambda m, x: F.scaled_dot_product_attention(x, x[:, :, :5], x[:, :, :5, :4]),
            3 * H * 5 * (W + 4),
        ),
        (lambda m, x: F.interpolate(F.gelu(x * x + 1), scale_factor=2, mode='bilinear').mean(), 0),
    ],
)
def test_products(function, expected):
    assert counted(function) == expected


@pytest.mark.parametrize('length', [1, 50])
@pytest.mark.parametrize('training', [True, False])
def test_multihead_attention_hides_nothing(training, length):
    c = 12
    attention = nn.MultiheadAttention(c, 4, batch_first=True).train(training)
    tokens = torch.randn(2, length, c)
    enabled = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad(), MultiplyAddCounter(attention) as counter:
        attention(tokens, tokens, tokens, need_weights=False)
    assert counter.total.multiply_adds == 2 * (4 * length * c * c + 2 * length * length * c)
    assert counter.total.attention == 2 * 2 * length * length * c
    assert torch.backends.mha.get_fastpath_enabled() == enabled is True


def test_the_fast_path_would_hide_the_products():
    # What the test above guards against: without the switch, torch's counter misses them.
    attention = nn.MultiheadAttention(12, 4, batch_first=True).eval()
    tokens = torch.randn(2, 50, 12)
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        attention(tokens, tokens, tokens, need_weights=False)
    assert plain.get_total_flops() < 2 * 2 * (4 * 50 * 12 * 12 + 2 * 50 * 50 * 12)


@pytest.mark.parametrize('backend', [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_kernels_agree(backend):
    # Math and flash, the two kernels of a CPU, on real tensors.
    x = torch.randn(1, 2, 16, 8)
    module = Calls(lambda m, x: F.scaled_dot_product_attention(x, x, x))
    with (
        torch.no_grad(),
        sdpa_kernel(backend),
        MultiplyAddCounter(module) as counter,
    ):
        module(x)
    assert counter.total.multiply_adds == 2 * 2 * 16 * 16 * 8


def test_shares_of_modules():
    # `tail` is called by `head`, where it counts; the two together are the whole.
    class Head(nn.Module):
        def __init__(self, tail):
            super().__init__()
            self.own = nn.Conv2d(3, 3, 1)
            self.lent = [tail]  # not registered here

        def forward(self, x):
            return self.lent[0](self.own(x))

    tail = nn.Conv2d(3, 5, 1)
    layers = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)])
    model = Calls(
        lambda m, x: (m.head(x), m.layers[0](x), m.layers[1](x)),
        head=Head(tail),
        tail=tail,
        layers=layers,
        idle=nn.Conv2d(3, 7, 1),
    )
    with torch.no_grad(), MultiplyAddCounter(model) as counter:
        model(torch.zeros(1, 3, H, W))
    assert counter.of(model.head) == Cost(H * W * (3 * 3 + 3 * 5))
    assert counter.of(tail) == Cost(0)
    assert counter.of(layers) == Cost(H * W * (3 * 4 + 3 * 6))
    assert counter.of(model.idle) is None
    assert counter.of(model) == counter.total == counter.of(model.head) + counter.of(layers)


@torch.library.custom_op('glmix_tests::gemm', mutates_args=())
def gemm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


@gemm.register_fake
def _(a, b):
    return a.new_empty(a.shape[0], b.shape[1])


class OuterProduct(nn.Module):
    """A linear layer that no product of torch's computes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, W))

    def forward(self, x):
        return (x[..., None, :] * self.weight).sum(-1)


def test_what_has_no_formula_is_named():
    result = count(Calls(lambda m, x: gemm(x[0, 0], x[0, 1].T)), (H, W))
    assert result.not_counted == ('operator glmix_tests.gemm',)
    result = count(Calls(lambda m, x: m.outer(x), outer=OuterProduct()), (H, W))
    assert result.not_counted == ('module outer (OuterProduct)',)


def test_what_multiplies_no_matrix_is_not_named():
    def run(m, x):
        x = m.norm(m.scale(m.conv(x)).flatten(1))
        return m.table(x.argmax(1))

    modules = dict(
        conv=nn.Conv2d(3, 4, 1),
        scale=nn.BatchNorm2d(4),
        norm=nn.LayerNorm(4 * H * W),
        table=nn.Embedding(4 * H * W, 2),
    )
    assert count(Calls(run, **modules), (H, W)).not_counted == ()
