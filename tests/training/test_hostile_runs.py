"""Broken images in whole runs: one line that names the file, from workers and models as well."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.inference import predict
from glmix_mm.inference import test as testing
from glmix_mm.training import train as training
from glmix_mm.training.exact_loops import ExactEpochBasedTrainLoop

pytestmark = pytest.mark.slow


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
    monkeypatch.setattr('glmix_mm.data.statistics.DECODED', 1)  # as in a set of very many images
    path = sorted((broken_set / 'coco' / 'train2017').iterdir())[3]
    path.write_bytes(path.read_bytes()[:700])
    folders = ['--data-root', str(broken_set), '--work-dir', str(tmp_path / 'wd')]
    options = ['--from-scratch', '--cfg-options', f'train_dataloader.num_workers={workers}']
    assert run(training.main, [nano_detector, *folders, *options]) == 1
    last = last_line(capsys)
    assert last.startswith(f'error: {path}: not a readable image (700 bytes): truncated')
    assert 'checkpoint' not in last  # there is none


def test_a_broken_image_after_a_checkpoint(
    nano_detector, broken_set, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr('glmix_mm.data.statistics.DECODED', 1)
    path = sorted((broken_set / 'coco' / 'train2017').iterdir())[3]
    whole, epoch = path.read_bytes(), ExactEpochBasedTrainLoop.run_epoch

    def run_epoch(loop):
        path.write_bytes(whole[: 700 if loop.epoch else None])
        epoch(loop)

    arguments = [nano_detector, '--data-root', str(broken_set), '--work-dir', str(tmp_path / 'wd')]
    with monkeypatch.context() as patch:
        patch.setattr(ExactEpochBasedTrainLoop, 'run_epoch', run_epoch)
        assert run(training.main, [*arguments, '--from-scratch']) == 1
    last = last_line(capsys)
    assert last.startswith(f'error: {path}: not a readable image (700 bytes): truncated')
    kept = tmp_path / 'wd' / 'epoch_1.pth'
    assert str(kept) in last
    command = shlex.split(last.split('continue with: ')[1])
    assert command == ['glmix', 'train', *arguments, '--from-scratch', '--resume']
    # Broken still: the checkpoint that the run went on from is the last one.
    assert run(training.main, command[2:]) == 1
    assert str(kept) in last_line(capsys)
    path.write_bytes(whole)
    assert run(training.main, command[2:]) == 0


@pytest.mark.parametrize('key', ['config', 'cfg'])
def test_a_config_in_a_resumed_checkpoint_is_not_run(key, nano_detector, demo_root, tmp_path):
    folders = ['--data-root', str(demo_root), '--work-dir', str(tmp_path / 'wd')]
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=9']
    assert run(training.main, [nano_detector, *folders, '--from-scratch', *options]) == 0
    path, trace = tmp_path / 'wd' / 'epoch_1.pth', tmp_path / 'trace'
    content = read_checkpoint(path)
    content['meta'][key] = f"made = __import__('os').mkdir({str(trace)!r})\n"
    torch.save(content, path)
    options[1] = 'train_cfg.max_epochs=2'
    assert run(training.main, [nano_detector, *folders, '--resume', *options]) == 0
    assert read_checkpoint(tmp_path / 'wd' / 'epoch_2.pth')['meta']['iter'] == 4
    assert not trace.exists()


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
    assert last.startswith('error: GLNet: ') and '8 x 64 px' in last
    assert last.endswith(f"'{path}'")
    with Image.open(path) as image:  # predict's own size is four times as large
        image.crop((0, 0, 64, 4)).save(path)
    out = ['--out', str(tmp_path / 'out'), '--device', 'cpu']
    assert run(predict.main, [nano_segmentor, segmentor_weights, str(path), *out]) == 1
    err = capsys.readouterr().err
    assert f'skipped: {path}: GLNet: ' in err and '16 x 256 px' in err
    assert re.fullmatch(f'error: 1 of 1 .*{path}', err.splitlines()[-1])
