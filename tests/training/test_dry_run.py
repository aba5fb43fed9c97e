"""``--dry-run`` builds all that training builds, so a wrong argument of any part shows there."""

import sys

import pytest

from glmix_mm.cli import run
from glmix_mm.training.train import main

# isort: split
import mmcv.ops  # noqa: F401


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('default_hooks.checkpoint.intervall=5', ['intervall', 'interval']),
        ('train_dataloader.batchsize=2', ["'batchsize'"]),
        ('train_dataloader.samples_per_gpu=2', ['samples_per_gpu', 'batch_size']),
        ('train_dataloader.dataset.classes="[a,b]"', ['metainfo=dict(classes=...)']),
        ('val_evaluator.metricc=bbox', ["'metricc'"]),
        ('default_hooks.logger.intervall=5', ["'intervall'"]),
        ('param_scheduler.0.warmup_iters=5', ['warmup_iters']),
        ('train_cfg.max_epoch=5', ["'max_epoch'"]),
        ('optim_wrapper.grad_clip="{\'max_norm\': 1}"', ['grad_clip', 'clip_grad']),
        ('visualizer.vis_backends.0.folder=x', ["'folder'"]),
        ('optimizer.lr=1', ['optimizer', 'optim_wrapper']),
        ("visualizer.vis_backends=[dict(type='Tensorbord')]", ["'Tensorbord'"]),
        ("custom_hooks=[dict(type='EMAHook',momentumm=0.1)]", ['did you mean momentum']),
    ],
)
def test_a_dry_run_builds_all_parts(option, words, nano_detector, demo_root, tmp_path, capsys):
    arguments = [nano_detector, '--data-root', str(demo_root), '--work-dir', str(tmp_path / 'w')]
    assert run(main, [*arguments, '--from-scratch', '--dry-run', '--cfg-options', option]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('error: ') and all(word in last for word in words), last
    assert not (tmp_path / 'w').exists()


@pytest.mark.skipif(
    sys.modules['mmcv._ext'].__spec__.origin != 'glmix_mm', reason='a compiled mmcv is installed'
)
@pytest.mark.parametrize(
    ('option', 'words'),
    [
        (
            'model.roi_head.bbox_roi_extractor.roi_layer.pool_mode=max',
            ['roi_head.bbox_roi_extractor.roi_layers.0 (RoIAlign)', "pool_mode='max'"],
        ),
        ('model.test_cfg.rcnn.nms.type=nms_rotated', ['model.test_cfg.rcnn.nms', 'nms_rotated']),
    ],
)
def test_ops_that_are_not_served(option, words, nano_detector, demo_root, tmp_path, capsys):
    arguments = [nano_detector, '--data-root', str(demo_root), '--work-dir', str(tmp_path / 'w')]
    assert run(main, [*arguments, '--from-scratch', '--dry-run', '--cfg-options', option]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert all(word in last for word in [*words, 'docs/ops.md']), last
