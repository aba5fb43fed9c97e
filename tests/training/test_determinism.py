"""--seed and --deterministic: the same bits in each run, whatever reads the data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interruption_proof import equal
from mmengine.config import Config
from runs import read_log, train

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.config.edits import set_randomness
from glmix_mm.config.load_config import load_config
from glmix_mm.config.train_edits import take_seed
from glmix_mm.training.train import main

pytestmark = pytest.mark.slow

TRAIN = Path(__file__).parents[2] / 'tools/train.py'
OPTIONS = ('--deterministic', '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=9')
RANDOM = 'model.backbone.drop_path_rate=0.5'


def result(folder):
    """Return every logged loss and the weights and optimizer at the end."""
    losses = [{k: v for k, v in line.items() if 'loss' in k} for line in read_log(folder)]
    checkpoint = read_checkpoint(folder / 'epoch_1.pth')
    return losses, checkpoint['state_dict'], checkpoint['optimizer']


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def test_the_same_seed_gives_the_same_bits(nano_detector, demo_root, tmp_path):
    results = {}
    for seed, workers in ((3, 0), (3, 2), (4, 0)):
        folder = tmp_path / f'{seed}_{workers}'
        more = (RANDOM, f'train_dataloader.num_workers={workers}')
        assert train(nano_detector, demo_root, folder, *OPTIONS, *more, '--seed', seed) == 0
        results[seed, workers] = result(folder)
    # And another process, whose sets and dicts of strings may have another order.
    folder = tmp_path / 'process'
    arguments = [nano_detector, '--data-root', demo_root, '--work-dir', folder, '--from-scratch']
    arguments += ['--seed', '3', *OPTIONS, RANDOM, 'train_dataloader.num_workers=2']
    environment = dict(os.environ, PYTHONHASHSEED='1')
    command = [sys.executable, TRAIN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert equal(result(folder), results[3, 0])
    assert equal(results[3, 2], results[3, 0])
    assert results[4, 0][0] != results[3, 0][0]


def test_options_set_the_config(monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    cfg = load_config('demo/maskrcnn_glnet_nano')
    set_randomness(cfg, None, False)
    assert cfg.randomness == dict(seed=0)
    set_randomness(cfg, 5, True)
    assert cfg.randomness == dict(seed=5, deterministic=True)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'


def test_a_negative_seed_is_refused(capsys):
    assert run(main, ['demo/maskrcnn_glnet_nano', '--seed', '-1']) == 1
    assert capsys.readouterr().err.startswith('error: --seed -1: ')


@pytest.mark.parametrize(
    ('randomness', 'notes'),
    [
        (None, []),
        (dict(seed=None, deterministic=True), []),
        (dict(seed=7), []),
        (dict(seed=5), ["The seed is the resumed run's, 7, not 5."]),
    ],
)
def test_a_resumed_run_goes_on_with_its_seed(randomness, notes):
    cfg = Config(dict(randomness=randomness))
    assert take_seed(cfg, 7) == notes
    assert cfg.randomness == dict(randomness or {}, seed=7)
    assert take_seed(cfg, None) == []
