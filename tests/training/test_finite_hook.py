"""A loss or a weight that is no number stops the run, and nothing good is overwritten."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.training.train import main


@HOOKS.register_module()
class Poison(Hook):
    """Makes a weight no number, before or after a step."""

    def __init__(self, step, key, after):
        self.step, self.key, self.after = step, key, after
        self.priority = 'NORMAL'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.after and runner.iter + 1 == self.step:
            self.spoil(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.after and runner.iter + 1 == self.step:
            self.spoil(runner)

    def spoil(self, runner):
        with torch.no_grad():
            runner.model.get_parameter(self.key).view(-1)[0] = float('nan')


@pytest.fixture
def train(nano_detector, demo_root, tmp_path):
    """Return a run of tools/train.py with a Poison."""

    def call(step, key, after=False):
        hook = dict(type='Poison', step=step, key=key, after=after)
        cfg = load_config(nano_detector, {'custom_hooks': [hook]})
        cfg.dump(tmp_path / 'poisoned.py')
        folders = ['--data-root', str(demo_root), '--work-dir', str(tmp_path / 'wd')]
        options = ['--from-scratch', '--cfg-options', 'train_cfg.val_begin=9']
        return run(main, [str(tmp_path / 'poisoned.py'), *folders, *options])

    return call


def last_line(capsys):
    err = capsys.readouterr().err
    assert 'Traceback' not in err
    return err.splitlines()[-1]


def test_a_loss_that_is_no_number(train, demo_root, tmp_path, capsys):
    assert train(3, 'roi_head.mask_head.conv_logits.weight') == 1
    last = last_line(capsys)
    assert 'step 3 (epoch 2): loss_mask is nan' in last
    assert f'{tmp_path}/wd/epoch_1.pth' in last and '--resume' in last
    assert 'images of the batch:' in last and str(demo_root) in last
    assert [path.name for path in (tmp_path / 'wd').glob('*.pth')] == ['epoch_1.pth']
    state = read_checkpoint(tmp_path / 'wd' / 'epoch_1.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())


def test_weights_that_a_step_spoils_after_its_losses(train, tmp_path, capsys):
    assert train(4, 'backbone.stages.0.embed.0.weight', after=True) == 1
    last = last_line(capsys)
    assert last.startswith('error: step 4: 1 of the ')
    assert 'not finite' in last and 'backbone.stages.0.embed.0.weight' in last
    assert [path.name for path in (tmp_path / 'wd').glob('*.pth')] == ['epoch_1.pth']


def test_resuming_passes_over_a_checkpoint_that_is_no_number(train, tmp_path, capsys):
    assert train(3, 'roi_head.mask_head.conv_logits.weight') == 1
    folder = tmp_path / 'wd'
    broken = read_checkpoint(folder / 'epoch_1.pth')
    broken['state_dict']['backbone.stages.0.embed.0.weight'][0] = float('inf')
    torch.save(broken, folder / 'epoch_2.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    from glmix_mm.training.checkpoint_hook import find_latest

    path, _, failures = find_latest(folder)
    assert path == str(folder / 'epoch_1.pth')
    (failure,) = failures
    assert failure.startswith(f'{folder}/epoch_2.pth: cannot resume')
    assert f'1 of its {len(broken["state_dict"])} tensors' in failure
    assert "'backbone.stages.0.embed.0.weight'" in failure


def test_a_state_that_does_not_fit_the_run(nano_detector, demo_root, tmp_path, capsys):
    folders = ['--data-root', str(demo_root), '--work-dir', str(tmp_path / 'wd')]
    once = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=9']
    assert run(main, [nano_detector, *folders, '--from-scratch', *once]) == 0
    sound = Path(tmp_path / 'wd' / 'epoch_1.pth')

    def resumed(change):
        content = read_checkpoint(sound)
        change(content)
        torch.save(content, tmp_path / 'changed.pth')
        capsys.readouterr()
        assert run(main, [nano_detector, *folders, '--resume', str(tmp_path / 'changed.pth')]) == 1
        last = last_line(capsys)
        assert last.startswith(f'error: {tmp_path}/changed.pth: cannot resume')
        assert f'load_from={tmp_path}/changed.pth' in last
        return last

    def fewer_groups(content):
        del content['optimizer']['param_groups'][3:]

    def another_shape(content):
        state = content['optimizer']['state']
        state[next(iter(state))]['exp_avg'] = torch.zeros(7, 3)

    def no_log(content):
        content['message_hub'] = dict(log_scalars=3)

    assert 'ValueError: loaded state' in resumed(fewer_groups)
    assert 'exp_avg (7, 3) instead of' in resumed(another_shape)

    def text(content):
        state = content['optimizer']['state']
        state[next(iter(state))]['exp_avg'] = 'x'

    def incomplete(content):
        for state in content['optimizer']['state'].values():
            del state['exp_avg']

    def other_schedulers(content):
        content['param_schedulers'] = [3]

    for change in (no_log, text, incomplete, other_schedulers):
        resumed(change)
