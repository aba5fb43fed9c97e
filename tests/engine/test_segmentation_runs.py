"""Segmentors of other kinds than the shipped configs, from training to prediction."""

import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from glmix_mm.engine.cli import run
from glmix_mm.engine.test import main as score
from glmix_mm.engine.train import main as train


@pytest.fixture
def relabelled(demo_root, tmp_path):
    """Return a function that copies the demo set with its label maps, from 0, changed."""

    def copy(change):
        root = shutil.copytree(demo_root / 'ade/ADEChallengeData2016', tmp_path / 'data')
        for path in root.glob('annotations/*/*.png'):
            Image.fromarray(change(np.asarray(Image.open(path)) - 1).astype(np.uint8)).save(path)
        return root

    return copy


def on_all_sets(key, value):
    return [f'{split}_dataloader.dataset.{key}={value}' for split in ('train', 'val', 'test')]


def test_another_ignored_label(nano_segmentor, relabelled, tmp_path):
    """Images of half the crop's size are padded, which only the ignored label may do."""
    root = relabelled(lambda labels: np.where(labels == 3, 250, labels))
    options = [
        'model.decode_head.ignore_index=250',
        'train_dataloader.dataset.pipeline.2.ratio_range=(0.5,0.5)',
        *on_all_sets('reduce_zero_label', False),
        'train_dataloader.dataset.pipeline.1.reduce_zero_label=False',
        'val_dataloader.dataset.pipeline.2.reduce_zero_label=False',
        'test_dataloader.dataset.pipeline.2.reduce_zero_label=False',
    ]
    shared = ['--data-root', str(root), '--work-dir', str(tmp_path), '--cfg-options', *options]
    assert run(train, [nano_segmentor, '--from-scratch', *shared]) == 0
    used = Config.fromfile(tmp_path / 'nano_segmentor.py')
    assert used.model.data_preprocessor.seg_pad_val == 250
    assert used.model.auxiliary_head.ignore_index == used.val_evaluator.ignore_index == 250
    assert run(score, [nano_segmentor, str(tmp_path / 'iter_2.pth'), *shared]) == 0
