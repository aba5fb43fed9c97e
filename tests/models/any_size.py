"""What holds for inputs of any size; the tests try a few sizes, any_size_proof.py many."""

from collections.abc import Callable

import torch
from families import build_small
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = 1e-4
NON_OVERLAPPING = ('stl', 'param')  # kinds of small backbones with such patch embeddings
sides = st.integers(32, 700)
batches = st.integers(1, 3)


def check(law: Callable, examples: int, **arguments: st.SearchStrategy) -> None:
    """Try a law on examples, the same ones each time."""
    options = settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    options(given(**arguments)(law))()


def is_close(found, expected):
    """Compare relative to how much the expected map varies."""
    scale = float(expected.std()) if expected.numel() > 1 else 1.0
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE * max(scale, 1e-3))


def images(batch, height, width):
    """Return random images, the same ones for the same size."""
    generator = torch.Generator().manual_seed(batch * 10**6 + height * 1000 + width)
    return torch.randn(batch, 3, height, width, generator=generator)


def model_of(name, kind):
    """Return a small backbone whose batch norms keep to their statistics, which are not 0 and 1."""
    torch.manual_seed(0)
    model = build_small(name, kind, norm_eval=True)
    for key, value in model.named_buffers():
        if key.endswith(('running_mean', 'running_var')):
            value.uniform_(0.5, 1.5)
    return model


def batch_law(name, kind):
    """Return the law of sizes and batches of a small backbone, in training mode and in evaluation.

    A map's side is the image's over the stride, rounded up, or down where patch embeddings do not
    overlap; and each image's maps do not depend on the others of its batch.
    """
    model = model_of(name, kind)

    def law(batch, height, width, training):
        model.train(training)
        x = images(batch, height, width)
        with torch.no_grad():
            together = model(x)
            alone = [model(image[None]) for image in x]
        for level, found in enumerate(together):
            stride = 4 * 2**level
            extra = 0 if kind in NON_OVERLAPPING else stride - 1
            size = tuple((side + extra) // stride for side in (height, width))
            assert found.shape == (batch, model.out_channels[level], *size)
            assert found.isfinite().all()
            is_close(found, torch.cat([maps[level] for maps in alone]))

    return law


def gradient_law(name, kind):
    """Return the law that training works at a size: all gradients are there and finite."""
    model = model_of(name, kind).train()

    def law(batch, height, width):
        maps = model(images(batch, height, width))
        loss = sum(level.square().mean() for level in maps)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)

    return law


def flip_law(name, kind):
    """Return the law that a mirrored image gives mirrored maps, if the kernels are mirrored too.

    It holds where mirroring maps the windows of every strided convolution onto each other. With a
    kernel k, stride s and padding p, the windows on W pixels leave (W + 2p - k) mod s pixels over
    at the right, so that must be 0: for 3 x 3 at stride 2 and 7 x 7 at stride 4, padded, in stage
    after stage, at widths of 32 n + 1; for patch embeddings that do not overlap, at widths of 32 n.
    All else is symmetric at any width: depthwise convolutions of odd kernels, dilated attention
    (its zero padding is the same on both sides, and the order of neighbours does not matter),
    attention and norms, and adaptive pooling, whose window i, from floor(i W / n) to
    ceil((i + 1) W / n), is mirrored onto window n - 1 - i; slots then change places, which neither
    their attention nor the dispatch notices.
    """
    model = model_of(name, kind).eval()
    mirrored = model_of(name, kind).eval()
    with torch.no_grad():
        for parameter in mirrored.parameters():
            if parameter.dim() == 4:  # kernels
                parameter.copy_(parameter.flip(3))

    def law(batch, height, columns):
        width = 32 * columns + (0 if kind in NON_OVERLAPPING else 1)
        x = images(batch, height, width)
        with torch.no_grad():
            expected, found = model(x), mirrored(x.flip(3))
        for one, other in zip(found, expected, strict=True):
            is_close(one.flip(3), other)

    return law


columns = st.integers(1, 21)
LAWS = {
    'a batch is its images': (
        batch_law,
        dict(batch=batches, height=sides, width=sides, training=st.booleans()),
    ),
    'gradients are finite': (gradient_law, dict(batch=batches, height=sides, width=sides)),
    'mirrored': (flip_law, dict(batch=batches, height=sides, columns=columns)),
}
