"""Multiply-adds of DilateFormer and FCViT, stage by stage, against formulas."""

import math

import pytest

from glmix_mm.models import DilateFormer, FCViT
from glmix_mm.profiling import count
from glmix_mm.profiling.flops import EmptyOnMeta

SIZE = (225, 331)  # odd, and no multiple of anything
MORE_SIZES = [(32, 32), (224, 224), (800, 1280)]
DILATEFORMER = {
    'tiny': ((72, 144, 288, 576), (2, 2, 6, 2)),
    'small': ((72, 144, 288, 576), (3, 5, 8, 3)),
    'base': ((96, 192, 384, 768), (4, 8, 10, 3)),
}
FCVIT = {
    'tiny': ((32, 64, 160, 320), (3, 3, 5, 2)),
    'b12': ((64, 128, 320, 512), (2, 2, 6, 2)),
    'b24': ((64, 128, 320, 512), (4, 4, 12, 4)),
    'b48': ((64, 128, 320, 512), (8, 8, 24, 8)),
}


def halved(size):
    """Both sides after a convolution of stride 2 that pads by 1."""
    return [math.ceil(side / 2) for side in size]


def dilateformer_block(c, n, dilated):
    position, linear = 9 * c * n, n * (c * 3 * c + c * c)
    # Logits and weighted values, of 9 neighbours or of all positions.
    attention = 2 * (9 if dilated else n) * n * c
    return position + linear + attention + 2 * n * c * 4 * c


def dilateformer_stages(variant, size):
    channels, depths = DILATEFORMER[variant]
    full, half = math.prod(size), math.prod(halved(size))
    stem = full * 9 * 3 * 16 + half * 9 * (16 * 32 + 32 * 64)
    size, previous, stages = halved(size), 64, []
    for stage, (c, depth) in enumerate(zip(channels, depths, strict=True)):
        size = halved(size)
        n = math.prod(size)
        embed = n * 9 * previous * c + (stem if stage == 0 else 0)
        stages.append(embed + depth * dilateformer_block(c, n, dilated=stage < 2))
        previous = c
    return stages


def fcvit_block(c, n, ratio):
    bottleneck = max(c // 8, 16)
    # Each context compares every position with 8 rows of C numbers, 7 in 8 of them zero, and adds
    # as many; the context vector comes from two linear layers on one position.
    context = 2 * n * c * 8 + c * (2 * c // 8) + (c // 8) * c
    mixer = 2 * (context + n * (121 * c + 2 * c * bottleneck))
    return mixer + n * (2 * c * ratio * c + 9 * ratio * c)


def fcvit_stages(variant, size):
    channels, depths = FCVIT[variant]
    size, previous, stages = [math.ceil(side / 4) for side in size], 3, []
    ratios = (8, 8, 4, 4)
    for stage, (c, depth, ratio) in enumerate(zip(channels, depths, ratios, strict=True)):
        size = halved(size) if stage else size
        n = math.prod(size)
        embed = n * (9 if stage else 49) * previous * c
        stages.append(embed + depth * fcvit_block(c, n, ratio))
        previous = c
    return stages


@pytest.mark.parametrize(
    ('cls', 'variant', 'formula', 'size'),
    [(DilateFormer, variant, dilateformer_stages, SIZE) for variant in DILATEFORMER]
    + [(FCViT, variant, fcvit_stages, SIZE) for variant in FCVIT]
    + [(DilateFormer, 'tiny', dilateformer_stages, size) for size in MORE_SIZES]
    + [(FCViT, 'tiny', fcvit_stages, size) for size in MORE_SIZES],
)
def test_each_stage_equals_the_formula(cls, variant, formula, size):
    with EmptyOnMeta():
        model = cls(variant)
    result = count(model, size)
    parts = {part.name: part for part in result.model.parts}
    expected = formula(variant, size)
    assert [parts[f'stages.{i}'].multiply_adds for i in range(4)] == expected
    assert result.model.multiply_adds == sum(expected)
    assert (result.model.attention > 0) == (cls is DilateFormer)
    assert result.not_counted == ()


@pytest.mark.parametrize(
    ('variant', 'least', 'most'), [('tiny', 3.2, 3.2), ('small', 4.6, 4.8), ('base', 9.9, 10.0)]
)
def test_published_figures_of_dilateformer(variant, least, most):
    with EmptyOnMeta():
        model = DilateFormer(variant)
    assert least <= round(count(model, (224, 224)).model.multiply_adds / 1e9, 1) <= most
