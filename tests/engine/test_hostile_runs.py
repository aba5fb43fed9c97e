"""Broken images in whole runs: one line that names the file, from workers and models as well."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from glmix_mm.engine import predict
from glmix_mm.engine import test as testing
from glmix_mm.engine import train as training
from glmix_mm.engine.cli import run


@pytest.fixture
def broken_set(demo_root, tmp_path):
    """Return a copy of the demo set to break."""
    return Path(shutil.copytree(demo_root, tmp_path / 'broken'))


def last_line(capsys):
    err = capsys.readouterr().err
    assert 'Traceback' not in err.splitlines()[-1]
    return err.splitlines()[-1]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_broken_image_in_training(
    nano_detector, broken_set, tmp_path, capsys, workers, monkeypatch
):
    monkeypatch.setattr('glmix_mm.datasets.survey.DECODED', 1)  # as in a set of very many images
    path = sorted((broken_set / 'coco' / 'train2017').iterdir())[3]
    path.write_bytes(path.read_bytes()[:700])
    folders = ['--data-root', str(broken_set), '--work-dir', str(tmp_path / 'wd')]
    options = ['--from-scratch', '--cfg-options', f'train_dataloader.num_workers={workers}']
    assert run(training.main, [nano_detector, *folders, *options]) == 1
    last = last_line(capsys)
    assert last.startswith(f'error: {path}: not a readable image (700 bytes): truncated')


def thin_set(broken_set):
    """Make the first held-out image 64 x 8 px."""
    folder = broken_set / 'ade' / 'ADEChallengeData2016'
    name = 'validation/ADE_val_00000001'
    with Image.open(folder / 'annotations' / f'{name}.png') as labels:
        labels.crop((0, 0, 64, 8)).save(folder / 'annotations' / f'{name}.png')
    path = folder / 'images' / f'{name}.jpg'
    with Image.open(path) as image:
        image.crop((0, 0, 64, 8)).save(path)
    return path


def test_an_image_that_the_model_refuses(
    nano_segmentor, segmentor_weights, broken_set, tmp_path, capsys
):
    path = thin_set(broken_set)
    small = ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(64,64)']
    folders = ['--data-root', str(broken_set), '--work-dir', str(tmp_path / 'wd')]
    assert run(testing.main, [nano_segmentor, segmentor_weights, *folders, *small]) == 1
    last = last_line(capsys)
    assert last.startswith('error: GLNet: images of 8 x 64 px are too small')
    assert last.endswith(f"images of the batch: '{path}'")
    with Image.open(path) as image:  # predict's own size is four times as large
        image.crop((0, 0, 64, 4)).save(path)
    out = ['--out', str(tmp_path / 'out'), '--device', 'cpu']
    assert run(predict.main, [nano_segmentor, segmentor_weights, str(path), *out]) == 1
    err = capsys.readouterr().err
    assert f'skipped: {path}: GLNet: images of 16 x 256 px are too small' in err
    assert err.splitlines()[-1] == f'error: 1 of 1 images had to be skipped: {path}'
