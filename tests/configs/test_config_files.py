"""The config files themselves: which there are, their form, and how others inherit them."""

import ast
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from recipes import RECIPES
from shipped_configs import ABLATION, CONFIGS, IMAGENET, KINDS, NAMES, SHIPPED
from torch.utils.data import DataLoader

from glmix_mm.checkpoints.released_weights import RELEASES
from glmix_mm.config.load_config import find_config, load_config


@pytest.mark.parametrize(
    'folder', [SHIPPED, ABLATION, IMAGENET], ids=['dense', 'ablation', 'imagenet']
)
def test_the_files_are_short_and_say_how_to_train(folder):
    for name in folder:
        text = (CONFIGS / name).read_text()
        assert len(text.splitlines()) < 25, name
        bare = name.removesuffix('.py')
        assert f'# Train it: glmix train {bare} --gpus 8' in text.splitlines(), name
        if folder is IMAGENET:
            assert f'#   glmix test {bare} glmix://{Path(bare).name}' in text.splitlines(), name
        else:
            assigned = [node.targets[0].id for node in ast.parse(text).body]
            assert assigned == ['_base_', 'model'], name


@pytest.mark.parametrize('name', KINDS)
def test_resolves_and_its_dump_resolves_to_the_same(load, name, tmp_path):
    cfg = load(name)
    assert 'glmix_mm' in cfg.custom_imports.imports
    dumped = tmp_path / 'dumped.py'
    cfg.dump(dumped)
    assert Config.fromfile(dumped).to_dict() == cfg.to_dict()


def test_weights_are_releases():
    named = set(re.findall(r'glmix://(\w+)', RECIPES.read_text()))
    assert named and named <= set(RELEASES)
    assert {Path(name).stem for name in IMAGENET} == set(RELEASES)


@pytest.mark.parametrize('ending', ['.py', ''])
def test_a_project_elsewhere_inherits_by_package_name(load, ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'mine.py'
    config.write_text(
        f"_base_ = 'glmix_mm::maskrcnn_glnet_4g_3x{ending}'\n"
        'model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))\n'
    )
    mine = Config.fromfile(config)
    expected = load('maskrcnn_glnet_4g_3x.py')
    assert expected.model.roi_head.bbox_head.num_classes == 80
    expected.model.roi_head.bbox_head.num_classes = 3
    assert mine.to_dict() == expected.to_dict()


def test_a_project_elsewhere_inherits_a_config_in_a_folder(load, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'glmix_mm::fcvit/semfpn_fcvit_b12_40k'\n")
    assert Config.fromfile(config).to_dict() == load('fcvit/semfpn_fcvit_b12_40k.py').to_dict()


def test_each_is_found_by_its_name_alone():
    for name in NAMES:
        for bare in (Path(name).name, Path(name).stem, f'glmix_mm::{Path(name).stem}'):
            assert find_config(bare) == str(CONFIGS / name)


def test_a_project_elsewhere_inherits_a_base_file(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'glmix_mm::_base_/schedules/coco_3x.py'\n")
    assert Config.fromfile(config).train_cfg.max_epochs == 36


def test_a_misspelt_name_lists_the_nearest(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'glmix_mm::maskrcn_glnet_4g_3x.py'\n")
    with pytest.raises(FileNotFoundError, match=r'did you mean .*maskrcnn_glnet_4g_3x\.py'):
        Config.fromfile(config)


@pytest.mark.parametrize('name', KINDS)
def test_no_workers_need_one_option_alone(name):
    """torch refuses loaders without workers that shall keep or prefetch for them."""
    splits = ('train', 'val', 'test')
    options = {f'{split}_dataloader.num_workers': 0 for split in splits}
    cfg = load_config(name, options | {'train_dataloader.prefetch_factor': 2})
    for split in splits:
        loader = cfg[f'{split}_dataloader']
        keys = ('num_workers', 'persistent_workers', 'prefetch_factor')
        DataLoader([0], **{key: loader[key] for key in keys if key in loader})
