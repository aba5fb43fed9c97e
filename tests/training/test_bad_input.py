"""Users' mistakes: one clear line at the end, status 1, and nothing written."""

import resource
from contextlib import contextmanager

import pytest
import torch

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import DEMO_CLASSES
from glmix_mm.inference import test as testing
from glmix_mm.models.build import build_model
from glmix_mm.models.glnet import ARCHS
from glmix_mm.training import train as training


@pytest.fixture
def train(nano_detector, demo_root, tmp_path):
    """Return a call of tools/train.py."""

    def call(*options, root=demo_root, config=nano_detector, scratch=True):
        arguments = [config, '--data-root', root, '--work-dir', tmp_path / 'wd', *options]
        return run(training.main, [*map(str, arguments), *(['--from-scratch'] if scratch else [])])

    return call


@pytest.fixture
def test(nano_detector, demo_root, tmp_path):
    """Return a call of tools/test.py on a checkpoint."""

    def call(checkpoint, *options, config=nano_detector):
        arguments = [config, checkpoint, '--data-root', demo_root, '--work-dir', tmp_path / 'wd']
        return run(testing.main, [*map(str, arguments), *options])

    return call


@pytest.fixture
def last_line(capsys, tmp_path):
    """Return a check of how a call ended, which returns its last line."""

    def check(status):
        assert status == 1
        err = capsys.readouterr().err
        assert 'Traceback' not in err
        assert not (tmp_path / 'wd').exists()
        last = err.splitlines()[-1]
        assert last.startswith('error: ')
        return last.removeprefix('error: ')

    return check


def test_no_such_config(train, last_line):
    line = last_line(train(config='maskrcn_glnet_4g_3x.py'))
    assert 'no such config: maskrcn_glnet_4g_3x.py' in line and 'maskrcnn_glnet_4g_3x.py' in line


@pytest.mark.parametrize(
    ('option', 'facts'),
    [
        ('model.backbone.arch=4gg', ["arch='4gg'", 'stl', '4g', '9g', '16g', 'nano']),
        ('model.backbone.drop_pth_rate=0.2', ["unexpected keyword argument 'drop_pth_rate'"]),
        ('model.type=MaskRCN', ["'MaskRCN'", "registry 'model'", 'did you mean MaskRCNN']),
        (
            'model.roi_head.bbox_head.num_classes=7',
            ['model.roi_head.bbox_head.num_classes=7', '5 classes'],
        ),
    ],
)
def test_options_that_are_mistaken(train, last_line, option, facts):
    line = last_line(train('--cfg-options', option))
    assert [fact for fact in facts if fact not in line] == []


def test_missing_data_folder(train, last_line, tmp_path):
    line = last_line(train(root=tmp_path / 'nowhere'))
    assert line.startswith(f'--data-root {tmp_path}/nowhere: ')


def test_missing_data_without_the_option(nano_detector, tmp_path, monkeypatch, last_line):
    monkeypatch.chdir(tmp_path)
    line = last_line(run(training.main, [nano_detector, '--work-dir', 'wd', '--from-scratch']))
    assert f'{tmp_path}/data/coco is missing' in line
    assert 'annotations/instances_train2017.json' in line
    assert '--data-root' in line


@pytest.mark.parametrize('name', ['glmix://glnet_9g', 'glnet_9g.pth'])
def test_pretrained_weights_that_are_not_there(train, last_line, tmp_path, monkeypatch, name):
    monkeypatch.setenv('GLMIX_CHECKPOINTS', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    options = ('type=Pretrained', f'checkpoint={name}')
    options = [f'model.backbone.init_cfg.{option}' for option in options]
    line = last_line(train('--cfg-options', *options, scratch=False))
    assert 'glnet_9g.pth' in line
    assert '--from-scratch' in line


def test_a_checkpoint_of_another_variant(test, last_line, nano_detector, tmp_path):
    larger = {'model.backbone.arch': '4g', 'model.neck.in_channels': list(ARCHS['4g'].channels)}
    cfg = load_config(nano_detector, larger)
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=build_model(cfg).state_dict(), meta=dict(cfg=cfg.pretty_text)), path)
    line = last_line(test(path))
    assert line.startswith(str(path)) and f'{nano_detector} (MaskRCNN with GLNet nano)' in line
    assert 'unexpected (backbone.stages.0.blocks.1.' in line
    assert 'misshapen (backbone.stages.0.embed.' in line
    assert 'MaskRCNN with GLNet 4g' in line


def test_a_checkpoint_of_another_method(test, last_line, segmentor_weights, nano_detector):
    line = last_line(test(segmentor_weights))
    assert line.startswith(segmentor_weights) and f'{nano_detector} (MaskRCNN with ' in line
    assert 'missing (neck.lateral_convs.0.conv.weight, ' in line
    assert 'unexpected (decode_head.' in line
    assert 'EncoderDecoder with GLNet nano, epoch 1, iteration 2' in line


def test_a_checkpoint_trained_for_other_classes(test, last_line, detector_weights, tmp_path):
    content = torch.load(detector_weights, weights_only=True)
    content['meta']['dataset_meta']['classes'] = DEMO_CLASSES[::-1]
    torch.save(content, tmp_path / 'other.pth')
    line = last_line(test(tmp_path / 'other.pth'))
    assert '5 classes (ring, star, triangle, square, disc)' in line


def test_a_missing_checkpoint(test, last_line, tmp_path):
    assert last_line(test(tmp_path / 'no.pth')) == f'{tmp_path}/no.pth: no such checkpoint file'


@pytest.mark.parametrize('option', ['--resume', '--cfg-options'])
def test_starting_from_a_checkpoint_of_another_model(train, last_line, tmp_path, option):
    state = {'backbone.stage1.weight': torch.zeros(3)}
    content = dict(state_dict=state, optimizer={}, message_hub={}, meta=dict(epoch=1, iter=1))
    torch.save(content, tmp_path / 'other.pth')
    given = tmp_path / 'other.pth' if option == '--resume' else f'load_from={tmp_path}/other.pth'
    line = last_line(train(option, given, scratch=False))
    assert f'{tmp_path}/other.pth' in line
    assert '1 unexpected (backbone.stage1.weight)' in line


def test_a_work_dir_that_cannot_be_made(train, tmp_path, capsys):
    (tmp_path / 'wd').write_text('a file')
    assert train() == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f'error: work_dir {tmp_path}/wd: File exists'
    assert (tmp_path / 'wd').read_text() == 'a file'


@contextmanager
def largest_file(size):
    """Let the system refuse to let any file grow beyond ``size`` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_saving(train, tmp_path, capsys):
    folder = tmp_path / 'wd'
    keep = ['--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=1', 'train_cfg.val_begin=9']
    assert train(*keep, 'train_cfg.max_epochs=1') == 0
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_1.pth']
    before = (folder / 'epoch_1.pth').read_bytes()
    with largest_file(2**20):
        assert train('--resume', *keep) == 1
    err = capsys.readouterr().err
    assert 'Traceback' not in err
    last = err.splitlines()[-1]
    assert last.startswith(f'error: cannot write {folder}/epoch_2.pth: ')
    assert 'MiB free' in last and f'{folder}/epoch_1.pth' in last
    # The only checkpoint is still there, and there is no trace of the one that failed.
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_1.pth']
    assert (folder / 'epoch_1.pth').read_bytes() == before
    assert not [path for path in folder.iterdir() if path.name.startswith('.')]
    # With room again it goes on; the outdated checkpoint goes when the new one is there.
    assert train('--resume', *keep) == 0
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_2.pth']
    assert read_checkpoint(folder / 'epoch_2.pth')['meta']['epoch'] == 2


def test_a_full_disk_before_the_first_checkpoint(train, tmp_path, capsys):
    with largest_file(2**20):
        assert train('--cfg-options', 'train_cfg.max_epochs=1') == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'MiB free' in last and f'no checkpoint in {tmp_path}/wd' in last
    assert not list((tmp_path / 'wd').glob('*.pth'))
