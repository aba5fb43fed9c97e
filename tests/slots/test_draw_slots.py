"""The command line: a panel for each image and block, and clear lines for mistakes."""

import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.models import GLNet
from glmix_mm.slots import draw_slots
from glmix_mm.slots.draw_slots import prepare_image, scale_of


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'nano.pth'
    state = {f'backbone.{key}': value for key, value in GLNet('nano').state_dict().items()}
    torch.save(dict(state_dict=dict(state, **{'neck.weight': torch.zeros(1)})), path)
    return str(path)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for name, size in (('wide.png', (24, 300)), ('small.jpg', (40, 30))):
        cv2.imwrite(str(folder / name), generator.integers(0, 256, (*size, 3), np.uint8))
    return folder


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.setattr(draw_slots, 'SCALE', (96, 64))
    return lambda *args: (run(draw_slots.main, [*map(str, args)]), *capsys.readouterr())


def test_a_panel_for_each_image_and_block(call, photos, weights, tmp_path):
    out = tmp_path / 'new' / 'panels'
    options = ('--arch', 'nano', '--checkpoint', weights, '--out', out)
    status, printed, _ = call(photos, *options, '--blocks', 2, 0)
    assert status == 0
    names = [f'{image}_block{block}.png' for image in ('small', 'wide') for block in (2, 0)]
    assert printed.splitlines() == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    for name in names:
        assert max(Image.open(out / name).size) > 1000


def test_a_config_and_the_last_block_of_each_stage(call, photos, weights, tmp_path):
    config = 'demo/maskrcnn_glnet_nano'
    options = ('--config', config, '--checkpoint', weights, '--out', tmp_path)
    assert call(photos / 'small.jpg', *options)[0] == 0
    names = [f'small_block{block}.png' for block in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_bad_files_are_skipped_and_named(call, photos, weights, tmp_path):
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'no image')
    options = ('--arch', 'nano', '--checkpoint', weights, '--blocks', 2, '--out', tmp_path / 'out')
    status, _, err = call(bad, tmp_path / 'absent.png', photos / 'small.jpg', *options)
    assert status == 1
    first, second, last = err.splitlines()[-3:]
    assert re.fullmatch(r'skipped: .*bad.jpg: .*\(8 bytes\); .*', first)
    assert re.fullmatch(r'skipped: .*absent.png: .*', second)
    assert re.match(r'error: 2 of 3 .*bad.jpg, .*absent.png', last)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['small_block2.png']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--arch', 'nano', '--checkpoint', 'W', '--blocks', '3'], 'no GLMix block 3: this GLNet'),
        (['--arch', 'nano', '--checkpoint', 'none.pth'], '.*none.pth: no such checkpoint file'),
        (['--arch', '4g', '--checkpoint', 'W'], '.* does not fit GLNet-4g'),
        (['--config', 'demo/maskrcnn_glnet_nano'], '.*--checkpoint'),
        (
            ['--config', 'maskrcnn_fcvit_b12_1x', '--checkpoint', 'W'],
            'FCViT has no blocks with slots; ',
        ),
    ],
)
def test_mistakes_end_in_one_line(call, photos, weights, tmp_path, options, message):
    options = [weights if option == 'W' else option for option in options]
    status, out, err = call(photos, *options, '--out', tmp_path)
    assert (status, out) == (1, '')
    assert re.match(f'error: {message}', err.splitlines()[-1])
    assert not any(tmp_path.iterdir())


def test_images_are_prepared_as_in_tests(photos):
    config = load_config('upernet_glnet_4g_160k')
    assert [*scale_of(config)] == [2048, 512]
    assert [*scale_of({})] == [1333, 800]
    image = np.full((50, 100, 3), (255, 0, 0), np.uint8)
    images = prepare_image(image, config)
    assert images.shape == (1, 3, 512, 1024)
    expected = [(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375]
    np.testing.assert_allclose(images[0, :, 7, 9], expected, rtol=1e-5)
    assert prepare_image(np.zeros((3, 900, 3), np.uint8), {}).shape == (1, 3, 32, 1333)
