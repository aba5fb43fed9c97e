"""Grids of the slots that follow the image, and their change on a model that is there."""

import pytest
import torch

from glmix_mm.errors import UserError
from glmix_mm.models import GLNet
from glmix_mm.models.slot_grid import grid_of, in_positions

BAD = [
    (0, 8),
    (8,),
    8,
    (8, 8.5),
    dict(),
    dict(slots=0),
    dict(cell=-1),
    dict(slots=64, cell=28),
    dict(cells=28),
    dict(cell=float('inf')),
    dict(slots='64'),
    'cell',
]


@pytest.mark.parametrize(
    ('grid', 'size', 'expected'),
    [
        ((8, 8), (50, 80), (8, 8)),
        ((3, 5), (1, 1), (3, 5)),
        (dict(slots=64), (56, 56), (8, 8)),
        (dict(slots=64), (50, 80), (6, 11)),  # sqrt(40) rows; 6 of them leave 10.7 columns
        (dict(slots=64), (80, 50), (10, 6)),
        (dict(slots=64), (1, 64), (1, 64)),
        (dict(slots=64), (2, 2000), (1, 64)),
        (dict(slots=1), (7, 9), (1, 1)),
        (dict(cell=7), (56, 56), (8, 8)),
        (dict(cell=7), (200, 320), (29, 46)),
        (dict(cell=7), (3, 3), (1, 1)),
    ],
)
def test_rules(grid, size, expected):
    assert grid_of(grid, *size) == expected


def test_a_cell_is_stated_in_pixels():
    assert [in_positions(dict(cell=28), stride) for stride in (4, 8, 16)] == [
        dict(cell=7),
        dict(cell=3.5),
        dict(cell=1.75),
    ]
    assert in_positions(dict(slots=9), 8) == dict(slots=9)
    assert in_positions([3, 4], 8) == (3, 4)


@pytest.mark.parametrize('grid', BAD, ids=str)
def test_what_is_no_grid(grid):
    with pytest.raises(UserError, match=r'slot_grid=.*\(rows, columns\)'):
        GLNet('nano', slot_grid=grid)
    model = GLNet('nano', slot_grid=(3, 5))
    with pytest.raises(UserError, match='slot_grid='):
        model.slot_grid = grid
    assert model.slot_grid == (3, 5)
    assert {tuple(block.mixer.slot_grid) for block in glmix_blocks(model)} == {(3, 5)}


def glmix_blocks(model):
    blocks = [block for stage in model.stages for block in stage.blocks]
    return [block for block in blocks if hasattr(block.mixer, 'slot_grid')]


@pytest.mark.parametrize('grid', [(4, 9), dict(slots=30), dict(cell=16)], ids=str)
@torch.no_grad()
def test_set_later_is_as_built_with_it(grid):
    torch.manual_seed(0)
    model, x = GLNet('nano').eval(), torch.randn(1, 3, 64, 130)
    default = model(x)
    other = GLNet('nano', slot_grid=grid).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    model.slot_grid = grid
    assert model.slot_grid == other.slot_grid == grid
    found = model(x)
    assert all(map(torch.equal, found, other(x)))
    assert not torch.equal(found[0], default[0])
    model.slot_grid = (8, 8)
    assert all(map(torch.equal, model(x), default))


@torch.no_grad()
def test_rules_that_give_the_default_grid_give_its_outputs():
    model, x = GLNet('nano').eval(), torch.randn(1, 3, 224, 224)
    expected = model(x)
    for grid in (dict(slots=64), dict(cell=28)):  # 224 / 28 = 8 rows and columns in every stage
        model.slot_grid = grid
        assert all(map(torch.equal, model(x), expected))


def test_training_and_fused_inference_with_a_rule():
    model = GLNet('nano', slot_grid=dict(cell=24))
    sum(m.square().sum() for m in model(torch.randn(2, 3, 64, 100))).backward()
    assert all(p.grad is not None for p in model.parameters())
    x = torch.randn(1, 3, 64, 100)
    with torch.no_grad():
        expected = model.eval()(x)
        for found, reference in zip(model.fuse()(x), expected, strict=True):
            torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4)


def test_learned_slots_keep_their_number():
    arch = dict(base='nano', slot_init='param')
    model = GLNet(arch)
    for grid in ((4, 4), dict(slots=64), dict(cell=28)):
        with pytest.raises(UserError, match='learned'):
            model.slot_grid = grid
    model.slot_grid = (4, 16)  # as many
    with pytest.raises(UserError, match='learned'):
        GLNet(arch, slot_grid=dict(cell=28))
