"""What GLNet has beyond the other families: its own variants and the paper's ablations."""

import golden
import pytest
from families import FAMILIES, directional_error, randomised

from glmix_mm.errors import UserError
from glmix_mm.models import GLNet
from glmix_mm.models.glnet import ARCHS, glnet_settings

SMALL = FAMILIES['glnet'].small


def test_nano_is_small_and_has_every_block():
    model = GLNet('nano')
    assert 0.8e6 < sum(p.numel() for p in model.parameters()) < 1.2e6
    assert {type(m).__name__ for m in model.modules()} >= {'GLMix', 'GlobalAttention', 'ConvFFN'}


ABLATIONS = [
    dict(),
    dict(branches='local'),
    dict(branches='global'),
    dict(clustering='static', slot_init='param'),
    dict(clustering='kmeans'),
    dict(slot_attention=False),
    dict(local_kernel_size=3),
    dict(local_kernel_size=7),
]


@pytest.mark.parametrize('options', ABLATIONS, ids=str)
@pytest.mark.parametrize('batch', [1, 2])
def test_gradients_of_every_ablation_by_finite_differences(options, batch):
    model = randomised(GLNet(dict(SMALL['ovlp'], **options), slot_grid=(4, 7))).train()
    assert directional_error(model, golden.image(batch, 48, 64), seed=3) < 1e-5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(clustering='hard'), "clustering='hard'"),
        (dict(clustering='static'), "slot_init='param'"),
        (dict(branches='none'), "branches='none'"),
        (dict(local_kernel_size=4), 'local_kernel_size=4 '),
    ],
)
def test_bad_ablations(options, message):
    with pytest.raises(UserError, match='GLMix') as info:
        GLNet(dict(base='nano', **options))
    assert message in str(info.value)


def test_a_variant_as_the_base_of_an_arch():
    assert glnet_settings(dict(base='4g')) == ARCHS['4g']
    steps = dict(
        patch_embed='ovlp',
        mixers=('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw'),
        cpe_ks=3,
        mlp_dw=True,
        channels=(64, 128, 256, 512),
        depths=(4, 4, 18, 4),
        ffn_ratio=3,
    )
    assert glnet_settings(dict(base='stl', **steps)) == ARCHS['4g']
    with pytest.raises(UserError, match=r"base='5g' .*stl, "):
        GLNet(dict(base='5g'))
    with pytest.raises(UserError, match=r"base='4g' .*\['depht'\]"):
        GLNet(dict(base='4g', depht=(1, 1, 1, 1)))
