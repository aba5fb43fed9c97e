"""tools/train.py from start to end on a tiny set: checkpoints, resuming, what it says."""

import math

import pytest
import torch
from runs import read_log, train

from glmix_mm.checkpoints.safe_reading import read_checkpoint

ITERATIONS = 2  # an epoch: 8 images, 4 a batch


def optimizer_steps(checkpoint):
    return {int(state['step']) for state in checkpoint['optimizer']['state'].values()}


def test_training_logs_saves_and_validates(trained):
    log = read_log(trained)
    assert [(line['epoch'], line['step']) for line in log] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert all(math.isfinite(line['loss']) and line['loss'] > 0 for line in log)
    lines = max(trained.glob('*/vis_data/scalars.json')).read_text()
    assert 'coco/bbox_mAP' in lines
    assert 'coco/segm_mAP' in lines
    for epoch in (1, 2):
        checkpoint = read_checkpoint(trained / f'epoch_{epoch}.pth')
        assert checkpoint['meta']['epoch'] == epoch
        assert checkpoint['meta']['iter'] == epoch * ITERATIONS
        assert optimizer_steps(checkpoint) == {epoch * ITERATIONS}
    assert (trained / 'last_checkpoint').read_text() == str(trained / 'epoch_2.pth')


def test_training_changes_every_kind_of_weight(trained):
    first, second = (read_checkpoint(trained / f'epoch_{n}.pth')['state_dict'] for n in (1, 2))
    for part in ('backbone.stages.0', 'backbone.norm0', 'neck', 'rpn_head', 'roi_head.mask_head'):
        keys = [key for key in first if key.startswith(part) and key.endswith('weight')]
        assert any(not torch.equal(first[key], second[key]) for key in keys), part


def test_resuming_goes_on_where_the_newest_checkpoint_stopped(
    nano_detector, demo_root, copied, capsys
):
    options = ('--resume', '--cfg-options', 'train_cfg.max_epochs=3', 'param_scheduler.0.end=3')
    assert train(nano_detector, demo_root, copied, *options) == 0
    assert f'Resuming from {copied / "epoch_2.pth"}' in capsys.readouterr().out
    log = read_log(copied)
    assert [(line['epoch'], line['step']) for line in log] == [(3, 5), (3, 6)]
    assert log[0]['lr'] == pytest.approx(1e-5)  # 1e-4, lowered after the first epoch
    assert optimizer_steps(read_checkpoint(copied / 'epoch_3.pth')) == {3 * ITERATIONS}


def test_resuming_passes_over_an_unreadable_checkpoint(nano_detector, demo_root, copied, capsys):
    newest = copied / 'epoch_2.pth'
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert train(nano_detector, demo_root, copied, '--resume') == 0
    out = capsys.readouterr().out
    assert f'Passed over: {newest}: ' in out
    assert f'Resuming from {copied / "epoch_1.pth"}' in out
    assert [line['step'] for line in read_log(copied)] == [3, 4]
    assert read_checkpoint(newest)['meta']['epoch'] == 2  # whole again


def test_resuming_without_a_checkpoint_starts(nano_detector, demo_root, tmp_path, capsys):
    options = ('--resume', '--auto-scale-lr', '--amp', '--cfg-options', 'train_cfg.max_epochs=1')
    assert train(nano_detector, demo_root, tmp_path, *options) == 0
    out = capsys.readouterr().out
    assert f'Nothing to resume in {tmp_path}: training starts.' in out
    # On the CPU --amp means bfloat16, and 4 images instead of 16 a quarter of 1e-4.
    log = read_log(tmp_path)
    assert [line['step'] for line in log] == [1, 2]
    assert log[0]['lr'] == pytest.approx(2.5e-5)
    if not torch.cuda.is_available():
        assert 'Training computes in bfloat16 on cpu.' in out


def test_resuming_a_given_checkpoint(nano_detector, demo_root, copied):
    assert train(nano_detector, demo_root, copied, '--resume', copied / 'epoch_1.pth') == 0
    assert [line['step'] for line in read_log(copied)] == [3, 4]


def test_a_segmentor_trains_and_resumes(nano_segmentor, demo_root, tmp_path, capsys):
    assert train(nano_segmentor, demo_root, tmp_path, '--auto-scale-lr') == 0
    log = read_log(tmp_path)
    assert [line['step'] for line in log] == [1, 2]
    assert all(math.isfinite(line['loss']) for line in log)
    assert 'mIoU' in max(tmp_path.glob('*/vis_data/scalars.json')).read_text()
    out = capsys.readouterr().out
    assert 'Batch size: 2 x 1 processes = 2; learning rate 7.5e-06, scaled linearly from' in out
    assert "0.125 of the recipe's images" in out and '--mem' in out
    # The recipe's 6e-5 is for 16 images, here are 2; warmup starts at a millionth.
    assert log[0]['lr'] == pytest.approx(6e-5 / 8 * 1e-6, rel=1e-3)
    options = ('--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert train(nano_segmentor, demo_root, tmp_path, *options) == 0
    assert [line['step'] for line in read_log(tmp_path)] == [3]
    assert read_checkpoint(tmp_path / 'iter_3.pth')['meta']['iter'] == 3
