"""The command line that compares slot grids: its figures against those of models built so."""

import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from glmix_mm.cli import run
from glmix_mm.models import GLNet
from glmix_mm.profiling import count
from glmix_mm.slots import compare_grids, draw_slots
from glmix_mm.slots.assignments import slot_assignments, slot_statistics
from glmix_mm.slots.draw_slots import prepare_image

GRIDS = {'8x8': (8, 8), '24': dict(slots=24), '20px': dict(cell=20)}


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.setattr(draw_slots, 'SCALE', (96, 64))
    return lambda *args: (run(compare_grids.main, [*map(str, args)]), *capsys.readouterr())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('grids')
    torch.manual_seed(0)
    torch.save(GLNet('nano').state_dict(), folder / 'nano.pth')
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    cv2.imwrite(str(folder / 'photo.png'), pixels)
    return folder


@torch.no_grad()
def test_table_and_picture(call, folder, tmp_path):
    options = ('--arch', 'nano', '--checkpoint', folder / 'nano.pth', '--out', tmp_path)
    options += ('--block', 1, '--rounds', 1, '--grids', *GRIDS)
    status, printed, _ = call(folder / 'photo.png', *options)
    assert status == 0
    lines = printed.splitlines()
    assert lines[0] == 'photo.png at 64 x 96, block 1'
    assert lines[5] == str(tmp_path / 'photo_block1.png')
    assert Image.open(tmp_path / 'photo_block1.png').size[0] > 1000
    images = prepare_image(cv2.imread(str(folder / 'photo.png'))[..., ::-1], {})
    first = None
    for line, (name, grid) in zip(lines[2:5], GRIDS.items(), strict=True):
        model = GLNet('nano', slot_grid=grid).eval()
        model.load_state_dict(torch.load(folder / 'nano.pth', weights_only=True))
        outputs = model(images)
        first = first or outputs
        change = np.mean(
            [((a - b).norm() / b.norm()).item() for a, b in zip(outputs, first, strict=True)]
        )
        shares = slot_assignments(model, images, [1])[1][0].numpy()
        statistics = slot_statistics(shares)
        multiply_adds = count(model, (64, 96)).model.multiply_adds
        cells = re.split(r'\s{2,}', line)
        assert cells[:6] == [
            name,
            str(len(shares)),
            str(statistics.strongest),
            f'{statistics.sharing:.1f}',
            f'{change:.2%}',
            f'{multiply_adds / 1e9:.1f} G',
        ]
        assert all(float(cell) > 0 for cell in cells[6:])


def test_the_backbones_own_grid_is_kept():
    backbone = GLNet('nano').eval()
    grids = {'2x2': (2, 2), '1': dict(slots=1)}
    found = compare_grids.compare_grids(backbone, torch.randn(1, 3, 64, 64), grids, 0, rounds=1)
    assert [len(figures.shares) for figures in found.values()] == [4, 1]
    assert backbone.slot_grid == (8, 8)


@pytest.mark.parametrize('grid', ['8', '8x', '0x8', '0', '0px', 'px', '8x8x8', '-1'])
def test_grids_that_are_none(grid):
    if grid == '8':
        assert compare_grids.parse_grid(grid) == dict(slots=8)
    else:
        with pytest.raises(compare_grids.UserError, match=f'--grids {grid}: .*ROWSxCOLUMNS'):
            compare_grids.parse_grid(grid)


def test_mistakes_end_in_one_line(call, folder, tmp_path):
    options = ('--arch', 'nano', '--checkpoint', folder / 'nano.pth', '--out', tmp_path / 'out')
    for arguments, message in (
        (('--grids', 'many'), '--grids many: expected'),
        (('--rounds', 0), '--rounds 0: '),
        (('--block', 7), 'no GLMix block 7'),
    ):
        status, out, err = call(folder / 'photo.png', *options, *arguments)
        assert (status, out) == (1, '')
        assert err.splitlines()[-1].startswith(f'error: {message}')
    assert not (tmp_path / 'out').exists()
