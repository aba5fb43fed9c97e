"""What the command line's options change in the shipped configs."""

import copy
import os
from pathlib import Path

import pytest
from mmengine.config import Config

from glmix_mm.config import data_root, edits
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError

COCO, ADE = Path('coco'), Path('ade') / 'ADEChallengeData2016'


@pytest.fixture(scope='session')
def shipped():
    names = ('maskrcnn_glnet_4g_3x', 'upernet_glnet_4g_160k', 'semfpn_glnet_9g_80k')
    return {name.split('_')[0]: load_config(name) for name in names}


@pytest.fixture
def det(shipped):
    return copy.deepcopy(shipped['maskrcnn'])


@pytest.fixture
def seg(shipped):
    return copy.deepcopy(shipped['upernet'])


def data_roots(cfg):
    return {cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')}


@pytest.mark.parametrize('below', ['', 'coco'])
def test_the_data_root_of_coco(det, demo_root, below):
    data_root.apply_data_root(det, str(demo_root / below))
    root = demo_root / COCO
    assert data_roots(det) == {str(root)}
    annotations = str(root / 'annotations' / 'instances_val2017.json')
    assert det.val_evaluator.ann_file == det.test_evaluator.ann_file == annotations
    assert Path(annotations).is_file()


@pytest.mark.parametrize('below', ['', 'ade', 'ade/ADEChallengeData2016'])
def test_the_data_root_of_ade(seg, demo_root, below):
    data_root.apply_data_root(seg, str(demo_root / below))
    assert data_roots(seg) == {str(demo_root / ADE)}
    assert 'ann_file' not in seg.val_evaluator


def test_the_data_root_reaches_wrapped_and_shared_data_sets(det, demo_root):
    inner = det.train_dataloader.dataset
    second = copy.deepcopy(inner)
    joined = dict(type='ConcatDataset', datasets=[inner, second])
    det.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=joined)
    det.test_dataloader, det.test_evaluator = det.val_dataloader, [det.val_evaluator]
    data_root.apply_data_root(det, str(demo_root))
    datasets = det.train_dataloader.dataset.dataset.datasets
    assert [each.data_root for each in datasets] == [str(demo_root / COCO)] * 2
    path = str(demo_root / COCO / 'annotations' / 'instances_val2017.json')
    assert det.val_evaluator.ann_file == det.test_evaluator[0].ann_file == path


def test_a_data_root_without_the_data_stays_as_given(det, tmp_path):
    data_root.apply_data_root(det, str(tmp_path))  # what is missing is check_datasets' to say
    assert data_roots(det) == {str(tmp_path)}


def test_wrong_data_roots(det, demo_root, tmp_path):
    with pytest.raises(UserError, match='no such folder'):
        data_root.apply_data_root(det, str(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match='is not a folder'):
        data_root.apply_data_root(det, str(demo_root / 'demo.json'))
    elsewhere = copy.deepcopy(det)
    elsewhere.val_evaluator.ann_file = '/elsewhere/instances.json'
    with pytest.raises(UserError, match=r'/elsewhere/instances\.json .*data/coco/'):
        data_root.apply_data_root(elsewhere, str(demo_root))
    det.train_dataloader.dataset.ann_file = '/elsewhere/instances.json'
    with pytest.raises(UserError, match=r'data_root, found /elsewhere'):
        data_root.apply_data_root(det, str(demo_root))


def test_from_scratch_drops_every_pretrained_checkpoint():
    normal = dict(type='Normal', std=0.01)
    cfg = Config(
        dict(
            load_from='whole.pth',
            model=dict(
                pretrained='old.pth',
                init_cfg=dict(type='Pretrained', checkpoint='a.pth'),
                backbone=dict(init_cfg=[dict(type='Pretrained', checkpoint='b.pth'), normal]),
                heads=[dict(init_cfg=normal), dict(inner=dict(init_cfg=None))],
            ),
        )
    )
    assert list(edits.pretrained_checkpoints(cfg.model)) == ['a.pth', 'b.pth']
    edits.from_scratch(cfg)
    assert list(edits.pretrained_checkpoints(cfg.model)) == []
    assert cfg.model.init_cfg is None
    assert cfg.model.pretrained is None
    assert cfg.load_from is None
    assert cfg.model.backbone.init_cfg == [normal]
    assert cfg.model.heads[0].init_cfg == normal


def test_from_scratch_on_the_shipped_configs(shipped):
    for cfg in map(copy.deepcopy, shipped.values()):
        assert list(edits.pretrained_checkpoints(cfg.model)) == [
            cfg.model.backbone.init_cfg.checkpoint
        ]
        edits.from_scratch(cfg)
        assert cfg.model.backbone.init_cfg is None


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize(
    'wrapper',
    [
        dict(type='OptimWrapper'),
        dict(type='AmpOptimWrapper', loss_scale='dynamic'),
        dict(type='AutoAmpOptimWrapper', dtype='float32'),
    ],
)
def test_amp(device, wrapper, monkeypatch):
    monkeypatch.setattr(edits, 'get_device', lambda: device)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), **wrapper)))
    edits.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AutoAmpOptimWrapper'
    assert cfg.optim_wrapper.get('dtype') == ('bfloat16' if device == 'cpu' else None)
    assert 'glmix_mm.training.amp' in cfg.custom_imports.imports


def test_amp_with_a_wrapper_of_ones_own():
    with pytest.raises(UserError, match=r"'MyWrapper'; .*OptimWrapper"):
        edits.enable_amp(Config(dict(optim_wrapper=dict(type='MyWrapper'))))


@pytest.mark.parametrize(('device', 'expected'), [('cpu', ('100', '7')), ('cuda', (None, '7'))])
def test_kernel_caches_are_bounded_on_a_cpu(device, expected, monkeypatch):
    first, second = edits.KERNEL_CACHES
    monkeypatch.setattr(edits, 'get_device', lambda: device)
    monkeypatch.setenv(first, '')  # which is undone, as what takes its place is
    monkeypatch.delenv(first)
    monkeypatch.setenv(second, '7')
    edits.bound_kernel_caches()
    assert (os.environ.get(first), os.environ[second]) == expected


def test_required_modules_join_the_custom_imports(det):
    before = list(det.custom_imports.imports)
    edits.require(det, 'json')
    edits.require(det, 'json')
    assert det.custom_imports.imports == [*before, 'json']
    assert det.custom_imports.allow_failed_imports is False


def test_scaling_the_learning_rate(shipped):
    for name, batch in (('maskrcnn', 16), ('upernet', 16), ('semfpn', 32)):
        cfg = copy.deepcopy(shipped[name])
        edits.enable_auto_scale_lr(cfg)
        assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=batch)


def test_scaling_counts_accumulated_batches(det):
    # mmengine compares with what one iteration sees: a quarter of what one step does.
    det.optim_wrapper.accumulative_counts = 4
    edits.enable_auto_scale_lr(det)
    assert det.auto_scale_lr.base_batch_size == 4


def test_scaling_needs_a_base(seg):
    seg.pop('auto_scale_lr')
    with pytest.raises(UserError, match=r'auto_scale_lr\.base_batch_size=16'):
        edits.enable_auto_scale_lr(seg)


def test_the_work_dir(det):
    edits.set_work_dir(det, None)
    assert det.work_dir == 'work_dirs/maskrcnn_glnet_4g_3x'
    edits.set_work_dir(det, 'mine')
    assert det.work_dir == 'mine'
    edits.set_work_dir(det, None)
    assert det.work_dir == 'mine'
