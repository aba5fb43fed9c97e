"""The GLMix block's ablations against loops over positions and slots, in float64."""

import pytest
import torch
from torch.nn import functional as F

from glmix_mm.models.glmix import KMEANS_ITERATIONS, GLMix

DIM = 8


def block(**options):
    torch.manual_seed(0)
    mix = GLMix(DIM, head_dim=4, slot_grid=(2, 3), **options).double()
    for parameter in mix.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return mix


def pooled(x, rows, columns):
    """Adaptive average pooling by its definition, row-major, (rows * columns, C)."""
    _, height, width = x.shape
    slots = []
    for i in range(rows):
        for j in range(columns):
            top, bottom = i * height // rows, -(-(i + 1) * height // rows)
            left, right = j * width // columns, -(-(j + 1) * width // columns)
            slots.append(x[:, top:bottom, left:right].mean((1, 2)))
    return torch.stack(slots)


def cosine(a, b):
    return a @ b / (a.norm() * b.norm())


def global_branch(mix, x, x0, grid=(2, 3)):
    """One image, (C, h, w)."""
    tokens = x.flatten(1).T
    slots = pooled(x0, *grid) if mix.init_slots is None else mix.init_slots[0]
    count = len(slots)
    if mix.clustering == 'kmeans':
        for _ in range(KMEANS_ITERATIONS):
            nearest = [max(range(count), key=lambda s: cosine(t, slots[s]).item()) for t in tokens]
            groups = [
                [t for t, n in zip(tokens, nearest, strict=True) if n == s] for s in range(count)
            ]
            slots = torch.stack(
                [torch.stack(g).mean(0) if g else slots[s] for s, g in enumerate(groups)]
            )
        gather = F.one_hot(torch.tensor(nearest), count).double()
    else:
        logits = mix.slot_scale * torch.stack(
            [torch.stack([cosine(t, s) for s in slots]) for t in tokens]
        )
        gather = torch.stack([row.exp() / row.exp().sum() for row in logits])
        if mix.clustering == 'soft':
            slots = torch.stack([(c.exp() / c.exp().sum()) @ tokens for c in logits.T])
    slots = mix.slot_attention(slots[None])[0]
    return (gather @ slots).T.reshape(x.shape)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(slot_init='param'),
        dict(slot_init='param', clustering='static'),
        dict(clustering='kmeans'),
        dict(slot_attention=False),
    ],
    ids=str,
)
def test_global_branch(options):
    mix = block(branches='global', **options)
    x, x0 = torch.randn(2, 2, DIM, 5, 7, dtype=torch.float64).requires_grad_()
    check_alike(
        mix,
        lambda: mix(x, x0),
        lambda: torch.stack([global_branch(mix, *pair) for pair in zip(x, x0, strict=True)]),
        [x, x0],
    )


def check_alike(mix, ours, naive, inputs):
    """Compare values, and gradients of the inputs and of all parameters."""
    names, parameters = zip(*mix.named_parameters(), strict=True)
    found, expected = ours(), naive()
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    leaves = [*inputs, *parameters]
    found, expected = (
        torch.autograd.grad((value * weights).sum(), leaves, materialize_grads=True)
        for value in (found, expected)
    )
    names = [*('x', 'x0')[: len(inputs)], *names]
    for name, *grads in zip(names, found, expected, strict=True):
        torch.testing.assert_close(*grads, msg=lambda text, name=name: f'{name}: {text}')


@pytest.mark.parametrize('kernel', [3, 5, 7])
def test_local_branch_and_sum(kernel):
    x, x0 = torch.randn(2, 1, DIM, 9, 6, dtype=torch.float64).requires_grad_()
    local = block(branches='local', local_kernel_size=kernel)
    assert local.local[1].weight.shape == (DIM, 1, kernel, kernel)
    check_alike(local, lambda: local(x, x0), lambda: local_branch(local, x), [x])

    both = block(local_kernel_size=kernel)
    check_alike(
        both,
        lambda: both(x, x0),
        lambda: local_branch(both, x) + global_branch(both, x[0], x0[0]),
        [x, x0],
    )


def local_branch(mix, x):
    first, depthwise, last = mix.local
    kernel = depthwise.weight.shape[-1]
    z = torch.einsum('oi,nihw->nohw', first.weight[:, :, 0, 0], x) + first.bias.view(1, -1, 1, 1)
    patches = F.unfold(z, kernel, padding=kernel // 2).view(1, DIM, kernel * kernel, *x.shape[2:])
    z = (patches * depthwise.weight.view(1, DIM, -1, 1, 1)).sum(2) + depthwise.bias.view(-1, 1, 1)
    return torch.einsum('oi,nihw->nohw', last.weight[:, :, 0, 0], z) + last.bias.view(-1, 1, 1)


def test_zero_input_gives_finite_values_and_gradients():
    mix = block()
    x = torch.zeros(1, DIM, 4, 4, dtype=torch.float64, requires_grad=True)
    mix(x, x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in mix.parameters())


def test_logits_are_float32_under_autocast():
    mix = block().float()
    tokens, slots = torch.randn(1, 20, DIM).bfloat16(), torch.randn(1, 6, DIM).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        logits = mix.slot_logits(tokens, slots)
    expected = mix.slot_scale * F.cosine_similarity(
        tokens.double().unsqueeze(2), slots.double().unsqueeze(1), dim=3
    )
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('grid', 'shape'),
    [((3, 2), (3, 2)), (dict(slots=4), (2, 2)), (dict(cell=2.5), (2, 3)), ((9, 9), (9, 9))],
    ids=str,
)
def test_any_grid_of_a_block_that_has_another(grid, shape):
    mix = block(branches='global')
    mix.set_slot_grid(grid)
    x, x0 = torch.randn(2, 1, DIM, 5, 7, dtype=torch.float64).requires_grad_()
    check_alike(
        mix, lambda: mix(x, x0), lambda: global_branch(mix, x[0], x0[0], shape)[None], [x, x0]
    )
