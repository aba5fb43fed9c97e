"""Assignments against what the blocks really did in a forward pass, and what is chosen of them."""

import numpy as np
import pytest
import torch

from glmix_mm.errors import UserError
from glmix_mm.models import DilateFormer, GLNet
from glmix_mm.models.glmix import GLMix
from glmix_mm.slots.assignments import (
    blocks_of_stages,
    representative_slots,
    slot_assignments,
    slot_statistics,
)


def nano(**options):
    torch.manual_seed(0)
    backbone = GLNet('nano', **options)
    for module in backbone.modules():
        if isinstance(module, GLMix) and module.slot_scale is not None:
            torch.nn.init.constant_(module.slot_scale, 4.0)  # far from even shares
    return backbone.eval()


@pytest.fixture(scope='module')
def images():
    torch.manual_seed(0)
    return torch.randn(2, 3, 70, 100)


def softmax_of_cosines(mixer, x, x0):
    """The shares by the paper's formula, position by position."""
    n, _, h, w = x.shape
    slots = torch.nn.functional.adaptive_avg_pool2d(x0, mixer.slot_grid).flatten(2)
    cosine = torch.einsum('ncl,ncs->nsl', x.flatten(2), slots)
    cosine = cosine / x.flatten(2).norm(dim=1)[:, None] / slots.norm(dim=1)[..., None]
    return (mixer.slot_scale * cosine).softmax(1).reshape(n, -1, h, w)


def test_assignments_are_those_of_the_forward_pass(images):
    backbone = nano(slot_grid=(3, 5))
    seen = []
    mixers = [m for m in backbone.modules() if isinstance(m, GLMix)]
    hooks = [m.register_forward_pre_hook(lambda m, args: seen.append(args)) for m in mixers]
    with torch.no_grad():
        outputs = backbone(images)
    for hook in hooks:
        hook.remove()
    found = slot_assignments(backbone, images, [2, 0, 1])
    assert list(found) == [2, 0, 1]
    assert [tuple(found[i].shape) for i in range(3)] == [
        (2, 15, 18, 25),
        (2, 15, 9, 13),
        (2, 15, 5, 7),
    ]
    for number, (mixer, args) in enumerate(zip(mixers, seen, strict=True)):
        expected = softmax_of_cosines(mixer, *args)
        torch.testing.assert_close(found[number], expected, rtol=1e-4, atol=1e-6)
        assert expected.max() > 0.1  # not all alike
    with torch.no_grad():
        again = backbone(images)
    assert all(torch.equal(a, b) for a, b in zip(outputs, again, strict=True))


def test_shares_reproduce_the_mixed_map():
    torch.manual_seed(0)
    for options in (
        dict(),
        dict(clustering='static', slot_init='param'),
        dict(clustering='kmeans'),
    ):
        mixer = GLMix(32, branches='global', slot_grid=(2, 3), slot_attention=False, **options)
        x, x0 = torch.randn(2, 1, 32, 4, 6)
        shares = mixer.assignment(x, x0)
        torch.testing.assert_close(shares.sum(1), torch.ones(1, 4, 6))
        mixed = mixer(x, x0).flatten(2)
        # Some 6 slots make up every position by these shares: least squares leave nothing over.
        matrix = shares.flatten(2)[0].T
        slots = torch.linalg.lstsq(matrix.double(), mixed[0].T.double(), driver='gelsd').solution
        torch.testing.assert_close(matrix.double() @ slots, mixed[0].T.double(), atol=1e-4, rtol=0)


def test_nothing_is_left_behind(images):
    backbone = nano(norm_eval=True)
    backbone.train()
    modes = [module.training for module in backbone.modules()]
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    shares = slot_assignments(backbone, images, [2])[2]
    assert not shares.requires_grad
    assert [module.training for module in backbone.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.modules())
    assert all(torch.equal(state[key], value) for key, value in backbone.state_dict().items())
    torch.testing.assert_close(shares, slot_assignments(backbone.eval(), images, [2])[2])


def test_blocks_have_numbers():
    assert blocks_of_stages(GLNet('4g')) == {
        1: [0, 1, 2, 3],
        2: [4, 5, 6, 7],
        3: [8, 9, 10, 11, 12, 13, 14, 15, 16],
    }


@pytest.mark.parametrize(
    ('backbone', 'blocks', 'message'),
    [
        (
            nano,
            [3],
            'no GLMix block 3: this GLNet has 3, numbers 0 to 0 in stage 1, 1 to 1 in stage 2, '
            '2 to 2 in stage 3',
        ),
        (nano, [0, -1], 'no GLMix block -1'),
        (nano, [], 'GLMix block'),
        (lambda: GLNet(dict(base='nano', branches='local')), [0], 'GLNet has no blocks with slots'),
        (lambda: DilateFormer('tiny'), [0], 'DilateFormer has no blocks with slots; give a GLNet'),
    ],
)
def test_wrong_blocks(backbone, blocks, message, images):
    with pytest.raises(UserError, match=message):
        slot_assignments(backbone(), images, blocks)


def test_representatives_stand_for_groups_of_maps():
    generator = np.random.default_rng(0)
    patterns = generator.random((3, 4, 5))
    group = [0] * 6 + [1] * 3 + [2] * 2
    strength = generator.uniform(0.01, 1, len(group))  # must not matter
    maps = patterns[group] * strength[:, None, None] + 0.001 * generator.random((11, 4, 5))
    chosen, sizes = representative_slots(maps, 3)
    assert [group[slot] for slot in chosen] == [0, 1, 2]
    assert sizes.tolist() == [6, 3, 2]
    chosen, sizes = representative_slots(np.full((2, 3, 3), 0.5), 4)
    assert sorted(chosen) == [0, 1] and sizes.tolist() == [1, 1]


def test_statistics():
    certain = np.zeros((6, 4, 5))
    certain[2, :, :3] = certain[5, :, 3:] = 1
    assert slot_statistics(certain) == (2, 1)
    even = np.full((6, 4, 5), 1 / 6)
    strongest, sharing = slot_statistics(even)
    assert (strongest, sharing) == (1, pytest.approx(6))
    half = np.zeros((6, 1, 2))
    half[:2] = 0.5
    assert slot_statistics(half).sharing == pytest.approx(2)
