"""What a resumed run keeps of its checkpoint, and whose checkpoints and folder are whose."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from runs import read_log, resumable, save, train

from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.training.checkpoint_hook import find_latest
from glmix_mm.training.resumed_config import describe_changes
from glmix_mm.training.run_folder import FILE, RUN_ID, id_in, new_run_id, own_folder

SCHEDULE = dict(type='CosineAnnealingLR', end=4, by_epoch=False)


def recipe(**changes):
    """Return a small config."""
    settings = dict(
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3), clip_grad=None),
        param_scheduler=[SCHEDULE],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=4),
        train_dataloader=dict(batch_size=2, num_workers=2, dataset=dict(data_root='a')),
        auto_scale_lr=dict(enable=False, base_batch_size=16),
    )
    return Config(settings | changes)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(), ()),
        (dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=8)), ()),  # just goes on
        (
            dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=5e-5), clip_grad=None)),
            ('load_from=x.pth', 'optim_wrapper.optimizer.lr: 0.001, not 5e-05'),
        ),
        (
            dict(param_scheduler=[dict(SCHEDULE, end=8)]),
            ('load_from=x.pth', 'param_scheduler.0.end: 4, not 8'),
        ),
        (dict(param_scheduler=[]), ('load_from=x.pth', 'param_scheduler: [{', ', not []')),
        (
            dict(auto_scale_lr=dict(enable=True, base_batch_size=16)),
            ('load_from=x.pth', 'auto_scale_lr.enable: False, not True'),
        ),
        (
            dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3), accumulative_counts=4)),
            ('From here on', 'optim_wrapper.accumulative_counts: 4, so far nothing'),
        ),
        (
            dict(train_dataloader=dict(batch_size=4, num_workers=0, dataset=dict(data_root='b'))),
            ('From here on', 'batch_size: 4, so far 2', "dataset.data_root: 'b', so far 'a'"),
        ),
    ],
)
def test_each_setting_that_differs_is_said(changes, said):
    notes = describe_changes(recipe(**changes), dict(cfg=recipe().pretty_text), 'x.pth')
    assert len(notes) == bool(said)
    assert all(part in notes[0] for part in said)
    assert not notes or ('load_from=x.pth' in notes[0]) == ('load_from=x.pth' in said)
    assert not any('num_workers' in note for note in notes)


def test_the_same_config_differs_in_nothing():
    cfg = load_config('maskrcnn_glnet_4g_1x')
    assert describe_changes(cfg, dict(cfg=cfg.pretty_text), 'x.pth') == []


def test_a_checkpoints_config_is_not_run(tmp_path):
    text = f"param_scheduler = open({str(tmp_path / 'ran')!r}, 'w')\nimport nowhere\n"
    describe_changes(recipe(), dict(cfg=text), 'x.pth')
    assert not (tmp_path / 'ran').exists()


def test_a_resumed_run_says_what_it_keeps(nano_detector, demo_root, copied, capsys):
    options = ('optim_wrapper.optimizer.lr=5e-5', 'train_dataloader.batch_size=1')
    assert train(nano_detector, demo_root, copied, '--resume', '--cfg-options', *options) == 0
    out = capsys.readouterr().out
    assert 'optim_wrapper.optimizer.lr: 0.0001, not 5e-05' in out
    assert f'--cfg-options load_from={copied / "epoch_2.pth"}' in out
    assert 'train_dataloader.batch_size: 1, so far 4' in out
    assert '2 of 2 done (train_cfg.max_epochs)' in out


def test_a_new_run_in_a_used_folder_keeps_to_its_own(
    nano_detector,
    demo_root,
    copied,
    capsys,
):
    first = id_in(copied)
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert train(nano_detector, demo_root, copied, *options) == 0
    out = capsys.readouterr().out
    assert '(2, the newest epoch_2.pth)' in out
    assert '' != id_in(copied) != first != ''
    assert train(nano_detector, demo_root, copied, '--resume') == 0
    out = capsys.readouterr().out
    assert f'Resuming from {copied / "epoch_1.pth"}' in out
    assert 'was trained with' not in out
    assert [line['step'] for line in read_log(copied)] == [3, 4]


def test_a_strangers_checkpoints_are_passed_over(tmp_path):
    mine, other = new_run_id(), new_run_id()
    content = {
        name: dict(
            resumable({'weight': torch.zeros(1)}),
            message_hub=dict(runtime_info={RUN_ID: name} if name else {}),
        )
        for name in (mine, other, '')
    }
    save(tmp_path / 'iter_30.pth', **content[other])
    save(tmp_path / 'iter_20.pth', **content[''])
    assert find_latest(tmp_path)[0].endswith('iter_30.pth')  # of a copy without the mark, say
    with own_folder(tmp_path, mine):
        pass
    assert find_latest(tmp_path) is None
    save(tmp_path / 'iter_10.pth', **content[mine])
    path, _, passed_over = find_latest(tmp_path)
    assert path.endswith('iter_10.pth')
    assert [note.split(':')[0][-11:] for note in passed_over] == ['iter_30.pth', 'iter_20.pth']
    with own_folder(tmp_path, ''):  # goes on with a checkpoint of before there were ids
        pass
    assert find_latest(tmp_path)[0].endswith('iter_30.pth')


OWNER = """
import os, sys, time
from glmix_mm.training.run_folder import own_folder
with own_folder(sys.argv[1], 'x'):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_two_runs_at_once_in_one_folder_are_refused(nano_detector, demo_root, tmp_path, capsys):
    command = [sys.executable, '-c', OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        orphan = int(owner.stdout.readline())
        try:
            before = (tmp_path / FILE).read_text()
            assert train(nano_detector, demo_root, tmp_path) == 1
            error = capsys.readouterr().err
            assert f'{tmp_path}: process {owner.pid} on ' in error
            assert '--work-dir' in error
            assert (tmp_path / FILE).read_text() == before
            owner.kill()
            owner.wait()
            with own_folder(tmp_path, 'y'):  # though its child lives on
                assert id_in(tmp_path) == 'y'
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_a_folder_is_free_after_a_run(tmp_path):
    with pytest.raises(UserError, match='broken'), own_folder(tmp_path, 'x'):
        raise UserError('broken')
    with own_folder(tmp_path, 'y'):
        pass
    assert id_in(tmp_path) == 'y'


def test_a_run_that_has_not_yet_written_its_process_keeps_others_out(tmp_path):
    pytest.importorskip('fcntl')
    code = (
        'import fcntl, sys\n'
        "file = open(sys.argv[1], 'a+b')\n"
        'fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n'
        "print('locked', flush=True)\n"
        'sys.stdin.read()\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path / FILE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'locked\n'
        with pytest.raises(UserError, match='another process trains'), own_folder(tmp_path, 'x'):
            pass
        other.stdin.close()
