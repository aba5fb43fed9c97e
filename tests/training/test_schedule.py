"""Schedules that suit the length of a run, and what a dry run builds."""

import copy
import os

import pytest
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.training.runner_setup import _epoch
from glmix_mm.training.schedule import fit_schedule
from glmix_mm.training.train import main

DEMO = 'glmix_mm::demo/maskrcnn_glnet_nano.py'
LENGTH = 10  # iterations of an epoch


class Number(BaseModel):
    def forward(self, inputs, mode='loss'):
        return {}


def runner_for(folder, schedulers, epochs=None, iterations=None, lr=0.1):
    """Return a runner of mmengine's own that trains a number for so long."""
    loop = dict(by_epoch=bool(epochs), max_epochs=epochs, max_iters=iterations)
    return Runner(
        model=Number(),
        work_dir=str(folder),
        train_dataloader=DataLoader(range(LENGTH)),
        train_cfg={key: value for key, value in loop.items() if value is not None},
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
        param_scheduler=copy.deepcopy(schedulers),
        experiment_name=folder.name,
        log_level='ERROR',
        cfg=Config(
            dict(
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
                param_scheduler=copy.deepcopy(schedulers),
            )
        ),
    )


def linear(end, by_epoch=False, **more):
    return dict(type='LinearLR', start_factor=0.01, begin=0, end=end, by_epoch=by_epoch, **more)


def cosine(begin, end, by_epoch=False):
    return dict(type='CosineAnnealingLR', begin=begin, end=end, by_epoch=by_epoch)


@pytest.mark.parametrize(
    ('schedulers', 'length', 'warmup', 'share'),
    [
        ([linear(500)], dict(iterations=24), 2, '100%'),
        ([linear(500), cosine(500, 1000)], dict(iterations=24), 2, '100%'),
        ([linear(500)], dict(epochs=4), 4, '100%'),
        ([linear(3, by_epoch=True)], dict(epochs=4), 4, '100%'),
        ([linear(3, by_epoch=True, convert_to_iter_based=True)], dict(epochs=4), 4, '100%'),
        ([linear(12)], dict(iterations=24), 12, '100%'),
        ([dict(type='ConstantLR', factor=0.5, by_epoch=False, end=99)], dict(epochs=2), 2, '100%'),
    ],
)
def test_a_warmup_ends_within_the_run(schedulers, length, warmup, share, tmp_path):
    runner = runner_for(tmp_path, schedulers, **length)
    notes = [note for note in fit_schedule(runner) if 'cut short' not in note]
    assert runner.cfg.param_scheduler[0].end == warmup
    assert len(notes) == 1 + (warmup != schedulers[0]['end'])
    assert notes[-1].endswith(f"0.1 ({share} of the recipe's)")
    if len(schedulers) > 1:
        assert runner.cfg.param_scheduler[1].begin == warmup


@pytest.mark.parametrize(
    ('schedulers', 'share'),
    [
        ([], None),
        ([dict(type='LinearLR', start_factor=0.5, end_factor=0.5)], '50%'),
        ([dict(type='OneCycleLR', eta_max=0.2, total_steps=20, by_epoch=False)], '200%'),
        ([dict(type='MultiStepLR', milestones=[1], by_epoch=True)], '100%'),
    ],
)
def test_the_largest_rate_comes_from_the_schedulers_themselves(schedulers, share, tmp_path):
    notes = fit_schedule(runner_for(tmp_path, schedulers, epochs=2))
    assert [note.split('(')[1].split()[0] for note in notes] == ([share] if share else [])


def test_a_scheduler_that_never_starts_is_named(tmp_path):
    late = [cosine(30, 50), dict(type='MultiStepLR', milestones=[8, 11], by_epoch=True)]
    first, second, _ = fit_schedule(runner_for(tmp_path, late, epochs=3))
    assert 'param_scheduler.0 (CosineAnnealingLR)' in first and 'begin below 30' in first
    assert 'param_scheduler.1 (MultiStepLR)' in second and 'milestones below 3' in second


def test_a_scheduler_that_is_cut_short_is_named(tmp_path):
    long = [cosine(0, 50), dict(type='MultiStepLR', milestones=[2, 11], end=12, by_epoch=True)]
    first, second, _ = fit_schedule(runner_for(tmp_path, long, epochs=3))
    assert 'param_scheduler.0 (CosineAnnealingLR)' in first and 'end to fit 30' in first
    assert 'param_scheduler.1 (MultiStepLR)' in second and 'milestones to fit 3' in second


def test_an_epoch_is_as_long_as_the_planned_processes_make_it(tmp_path):
    warmup = [linear(20, by_epoch=True, convert_to_iter_based=True)]
    runner = runner_for(tmp_path, warmup, epochs=50)
    (note,) = fit_schedule(runner, epoch=1)
    assert '100%' in note
    with pytest.raises(UserError, match='drop_last'):
        fit_schedule(runner, epoch=0)
    for drop, length in ((True, 1), (False, 2)):
        assert _epoch(DataLoader(range(12), batch_size=4, drop_last=drop), 2) == length


def train(demo_root, folder, *options):
    arguments = [DEMO, '--data-root', str(demo_root), '--work-dir', str(folder)]
    return run(main, [*arguments, *options])


def test_a_short_run_trains_at_the_rate_of_its_recipe(demo_root, tmp_path):
    options = ['train_cfg.max_iters=4', 'train_cfg.val_interval=100']
    assert train(demo_root, tmp_path, '--cfg-options', *options) == 0
    cfg = load_config(str(tmp_path / 'maskrcnn_glnet_nano.py'))
    assert [each.get('end') for each in cfg.param_scheduler] == [2, 1500]
    (log,) = tmp_path.glob('*/*.log')
    assert "0.0015 (100% of the recipe's)" in log.read_text()


def test_a_dry_run_tells_the_rate_counts_the_images_and_leaves_nothing(demo_root, tmp_path, capsys):
    options = ['train_cfg.max_iters=24', 'train_dataloader.dataset.indices=4']
    assert train(demo_root, tmp_path / 'run', '--dry-run', '--cfg-options', *options) == 0
    out = capsys.readouterr().out
    assert 'shortened to 2' in out and "0.0015 (100% of the recipe's)" in out
    assert '24.0 epochs of 4 images' in out
    assert not os.listdir(tmp_path)
