"""The config files themselves: which there are, their form, and how others inherit them."""

import ast
from pathlib import Path

import pytest
from mmengine.config import Config

from glmix_mm.platform.releases import RELEASES

CONFIGS = Path(__file__).parents[2] / 'configs'
FLAT = sorted(path.name for path in CONFIGS.glob('*.py'))
OTHERS = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.glob('*/**/*.py')
    if '_base_' not in path.parts
)
EXPECTED = """
maskrcnn_glnet_4g_1x maskrcnn_glnet_9g_1x maskrcnn_glnet_16g_1x maskrcnn_glnet_stl_1x
maskrcnn_glnet_4g_3x maskrcnn_glnet_9g_3x maskrcnn_glnet_16g_3x
retinanet_glnet_4g_1x retinanet_glnet_9g_1x retinanet_glnet_16g_1x
retinanet_glnet_4g_3x retinanet_glnet_9g_3x retinanet_glnet_16g_3x
semfpn_glnet_4g_80k semfpn_glnet_9g_80k semfpn_glnet_16g_80k
upernet_glnet_4g_160k upernet_glnet_9g_160k upernet_glnet_16g_160k upernet_glnet_stl_160k
"""


def test_every_promised_config_exists():
    assert sorted(f'{name}.py' for name in EXPECTED.split()) == FLAT


@pytest.mark.parametrize('name', FLAT)
def test_flat_config_states_only_what_differs(name):
    text = (CONFIGS / name).read_text()
    assert len(text.splitlines()) < 25
    assert f'configs/{name}' in text, 'the header names the command that trains it'
    assigned = [node.targets[0].id for node in ast.parse(text).body]
    assert assigned == ['_base_', 'model']


@pytest.mark.parametrize('name', FLAT + OTHERS)
def test_resolves_and_its_dump_resolves_to_the_same(load, name, tmp_path):
    cfg = load(name)
    assert 'glmix_mm' in cfg.custom_imports.imports
    dumped = tmp_path / 'dumped.py'
    cfg.dump(dumped)
    assert Config.fromfile(dumped).to_dict() == cfg.to_dict()


@pytest.mark.parametrize('name', FLAT)
def test_pretrained_weights_are_a_release_of_the_same_variant(load, name):
    variant = name.split('_')[2]
    backbone = load(name).model.backbone
    assert (backbone.type, backbone.arch) == ('GLNet', variant)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=f'glmix://glnet_{variant}')
    assert f'glnet_{variant}' in RELEASES


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


def test_a_project_elsewhere_inherits_a_base_file(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'glmix_mm::_base_/schedules/coco_3x.py'\n")
    assert Config.fromfile(config).train_cfg.max_epochs == 36


def test_a_misspelt_name_lists_the_nearest(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'glmix_mm::maskrcn_glnet_4g_3x.py'\n")
    with pytest.raises(FileNotFoundError, match=r'did you mean .*maskrcnn_glnet_4g_3x\.py'):
        Config.fromfile(config)
