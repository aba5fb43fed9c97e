"""The plan of a run: one room changes configs, and what is printed is what the runner gets."""

import ast
import itertools
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

import glmix_mm
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.config.plan import TrainOptions, prepare
from glmix_mm.inference import show_config
from glmix_mm.inference import test as testing
from glmix_mm.training import runner_setup, train
from glmix_mm.utils.nested import nested_dicts

PACKAGE = Path(glmix_mm.__file__).parent
CHANGES = ('merge_from_dict', 'pop', 'popitem', 'setdefault', 'update', 'clear')


def root_of(node):
    """Return the name that a chain of attributes and subscripts begins with."""
    parts = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        parts.append(getattr(node, 'attr', ''))
        node = node.value
    return 'cfg' if 'cfg' in parts else getattr(node, 'id', '')


def changes_of(path):
    """Yield the lines of a module that assign into a config."""
    for node in ast.walk(ast.parse(path.read_text())):
        targets = getattr(node, 'targets', None) or [getattr(node, 'target', None)]
        targets = targets if isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)) else []
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in CHANGES:
            targets = [called]
        for target in itertools.chain(*(getattr(t, 'elts', [t]) for t in targets)):
            if isinstance(target, (ast.Attribute, ast.Subscript)) and root_of(target) == 'cfg':
                yield f'{path.relative_to(PACKAGE)}:{node.lineno}'


def test_the_room_config_alone_changes_configs():
    found = [line for path in PACKAGE.rglob('*.py') for line in changes_of(path)]
    assert any(line.startswith('config/') for line in found)
    assert [line for line in found if not line.startswith('config/')] == []


def printed(capsys, *argv):
    """Return the config that the command prints."""
    assert run(show_config.main, [str(word) for word in argv]) == 0
    return Config.fromstring(capsys.readouterr().out, '.py').to_dict()


@pytest.fixture
def runners(monkeypatch):
    """Return the list of the runners that are built, none of which runs."""
    found = []
    monkeypatch.setattr(runner_setup, 'RUNS', itertools.repeat(1))
    monkeypatch.setattr(Runner, 'train', lambda self: found.append(self))
    monkeypatch.setattr(Runner, 'test', lambda self: found.append(self) or {})
    return found


def test_what_is_printed_is_what_train_runs(nano_detector, demo_root, tmp_path, runners, capsys):
    options = ['--data-root', demo_root, '--work-dir', tmp_path, '--from-scratch', '--amp']
    options += ['--seed', '3', '--classes-from-data']
    expected = printed(capsys, nano_detector, *options)
    assert run(train.main, [str(word) for word in (nano_detector, *options)]) == 0
    assert runners[0].cfg.to_dict() == expected
    assert expected['optim_wrapper']['type'] == 'AutoAmpOptimWrapper'
    assert expected['randomness']['seed'] == 3


@pytest.mark.parametrize('option', ['--tta', '--fuse'])
def test_what_is_printed_is_what_test_runs(
    option, nano_segmentor, segmentor_weights, demo_root, tmp_path, runners, capsys
):
    options = ['--data-root', demo_root, '--work-dir', tmp_path, option]
    expected = printed(capsys, nano_segmentor, '--test', segmentor_weights, *options)
    arguments = (nano_segmentor, segmentor_weights, *options)
    assert run(testing.main, [str(word) for word in arguments]) == 0
    assert runners[0].cfg.to_dict() == expected
    assert expected['runner_type'] == 'QuietRunner'


def test_each_edit_of_a_training_is_in_its_config():
    cfg = load_config('maskrcnn_glnet_4g_3x')
    prepare(cfg, TrainOptions(seed=3, from_scratch=True, auto_scale_lr=True))
    for split in ('train', 'val'):
        types = {
            part['type'] for part in nested_dicts(cfg[f'{split}_dataloader']) if 'type' in part
        }
        assert {'CocoDatasetByName', 'CheckedLoadImage'} <= types
        assert 'LoadImageFromFile' not in types
    assert cfg.train_cfg.type == 'ExactEpochBasedTrainLoop'
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    assert cfg.val_evaluator.type == 'CheckedCocoMetric'
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    assert cfg.randomness.seed == 3 and cfg.model.backbone.init_cfg is None


def test_the_difference_to_the_file(nano_detector, capsys):
    assert run(show_config.main, [nano_detector, '--diff', '--from-scratch']) == 0
    lines = capsys.readouterr().out.splitlines()
    added = {line.lstrip('+ ').rstrip(',)') for line in lines if line.startswith('+')}
    assert {"type='SafeCheckpointHook'", "type='CheckedCocoMetric'"} <= added
    assert len(lines) < 150
