"""What stands in the folder at each moment of saving: SafeCheckpointHook without a training."""

import errno
import shutil
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger

from glmix_mm.training.checkpoint_hook import SafeCheckpointHook, saved_checkpoints

SCORES = ['mAP', 'mIoU']


class Run:
    """What the hook needs of a runner; ``full`` names a file for which there is no room."""

    def __init__(self, folder, hook):
        self.work_dir = str(folder)
        self.hook = hook
        self.epoch, self.iter, self.full = 0, 0, None
        self.logger = MMLogger.get_current_instance()
        self.message_hub = MessageHub(f'{folder}')
        self.seen = []
        hook.before_train(self)

    def save_checkpoint(self, out_dir, filename, *arguments, meta, **keywords):
        if filename == self.full:
            raise OSError(errno.ENOSPC, 'No space left on device')
        self.seen.append((filename, self.names()))  # what else is there then
        (Path(out_dir) / filename).write_bytes(b'weights')

    def names(self):
        return sorted(path.name for path in Path(self.work_dir).glob('*.pth'))

    def step(self, scores=None):
        """Train a step and save; validate if there are scores."""
        self.hook._save_checkpoint(self)
        self.iter += 1
        if scores is not None:
            self.hook.after_val_epoch(self, scores)


@pytest.fixture
def make_run(tmp_path):
    def make(save_best='mAP'):
        keywords = dict(interval=1, by_epoch=False, max_keep_ckpts=1, save_best=save_best)
        return Run(tmp_path, SafeCheckpointHook(**keywords))

    return make


def test_the_previous_best_goes_last(make_run):
    run = make_run()
    run.step(dict(mAP=0.1))
    run.step(dict(mAP=0.2))
    assert run.names() == ['best_mAP_iter_2.pth', 'iter_2.pth']
    there = dict(run.seen)
    assert there['best_mAP_iter_2.pth'] == ['best_mAP_iter_1.pth', 'iter_2.pth']
    # The last one is saved again, now with the name of the best: only then the old best goes.
    both = ['best_mAP_iter_1.pth', 'best_mAP_iter_2.pth']
    assert run.seen[-1] == ('iter_2.pth', [*both, 'iter_2.pth'])
    run.step(dict(mAP=0.15))
    assert run.names() == ['best_mAP_iter_2.pth', 'iter_3.pth']


def test_the_best_of_each_score_is_kept(make_run):
    run = make_run(SCORES)
    run.step(dict(mAP=0.1, mIoU=0.5))
    run.step(dict(mAP=0.2, mIoU=0.4))
    assert run.names() == ['best_mAP_iter_2.pth', 'best_mIoU_iter_1.pth', 'iter_2.pth']


def test_a_full_disk_leaves_the_previous_best(make_run):
    run = make_run()
    run.step(dict(mAP=0.1))
    run.full = 'best_mAP_iter_2.pth'
    with pytest.raises(OSError, match='No space'):
        run.step(dict(mAP=0.2))
    assert run.names() == ['best_mAP_iter_1.pth', 'iter_2.pth']


def test_a_resumed_run_removes_what_the_killed_one_could_not(make_run, tmp_path):
    run = make_run()
    run.step(dict(mAP=0.1))
    best = tmp_path / 'best_mAP_iter_1.pth'
    content = best.read_bytes()
    run.step(dict(mAP=0.2))
    assert not best.exists()
    # As if it was killed before it could remove this, and in the middle of another write.
    best.write_bytes(content)
    names = ('iter_3.pth', 'last_checkpoint', 'last_validation')
    halves = [tmp_path / f'.{name}.ab_d3f9h' for name in names]
    mine = tmp_path / '.iter_3.pth.notes'
    for path in (*halves, mine):
        path.write_bytes(b'half')
    run.hook.before_train(run)
    assert not best.exists()
    assert not any(half.exists() for half in halves)
    assert mine.exists()
    assert run.names() == ['best_mAP_iter_2.pth', 'iter_2.pth']


def test_nothing_is_removed_elsewhere(make_run, tmp_path):
    run = make_run()
    run.step()
    precious = tmp_path.parent / 'precious.pth'
    precious.write_bytes(b'precious')
    run.message_hub.update_info('outdated', ['../precious.pth', str(precious)])
    run.hook.before_train(run)
    assert precious.exists()
    assert run.names() == ['iter_1.pth']


def test_a_copy_of_a_run_leaves_the_original_alone(make_run, tmp_path):
    run = make_run()
    run.step(dict(mAP=0.1))
    copy = Path(shutil.copytree(tmp_path, tmp_path / 'copy'))
    hook = SafeCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1, save_best='mAP')
    run.work_dir, run.hook = str(copy), hook
    hook.before_train(run)
    run.step(dict(mAP=0.2))
    assert sorted(path.name for path in copy.glob('*.pth')) == ['best_mAP_iter_2.pth', 'iter_2.pth']
    assert (tmp_path / 'best_mAP_iter_1.pth').exists()


def test_what_a_signal_saved_goes_with_the_next_regular_checkpoint(make_run, tmp_path):
    run = make_run()
    run.step()
    assert run.hook.save_interrupted(run, dict(epoch=0, iter=1)) == f'{tmp_path}/interrupted.pth'
    assert run.names() == ['interrupted.pth', 'iter_1.pth']
    assert [path.name for path in saved_checkpoints(tmp_path)] == ['interrupted.pth', 'iter_1.pth']
    for left in (b'', b'\0\0', b'\xff\xfe'):  # by a kill while it was written, or a failing disk
        (tmp_path / 'last_checkpoint').write_bytes(left)
        names = [path.name for path in saved_checkpoints(tmp_path)]
        assert names == ['interrupted.pth', 'iter_1.pth']
    run.step()
    assert run.names() == ['iter_2.pth']


def test_a_validation_is_noted_when_it_has_ended(make_run, tmp_path):
    run = make_run()
    run.step()
    assert not (tmp_path / 'last_validation').exists()
    run.step(dict(mAP=0.2))
    assert (tmp_path / 'last_validation').read_text() == '2'
    run.iter = 0
    run.hook.before_train(run)  # a new run in the same folder
    assert not (tmp_path / 'last_validation').exists()
