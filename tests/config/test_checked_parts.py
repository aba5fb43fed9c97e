"""The checked parts stand in the config that a run dumps, and nowhere else."""

import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config

from glmix_mm.config.checked_parts import use_checked_parts, use_own_loading
from glmix_mm.config.load_config import load_config
from glmix_mm.utils.nested import nested_dicts


def kinds(settings):
    return {part['type'] for part in nested_dicts(settings) if 'type' in part}


@pytest.mark.parametrize(
    'name', ['maskrcnn_glnet_4g_3x', 'semfpn_glnet_4g_80k', 'imagenet/glnet_4g']
)
def test_a_run_reads_its_own_splits_with_checks(name, tmp_path):
    cfg = load_config(name)
    labels = cfg.default_scope == 'mmseg'
    use_checked_parts(cfg, ['train', 'val'])
    cfg.dump(tmp_path / 'dumped.py')
    dumped = Config.fromfile(tmp_path / 'dumped.py')
    for split in ('train', 'val'):
        found = kinds(dumped[f'{split}_dataloader'])
        assert 'CheckedLoadImage' in found and 'LoadImageFromFile' not in found
        assert ('CheckedLoadLabels' in found) == labels
        assert ('LoadAnnotations' in found) == (name == 'maskrcnn_glnet_4g_3x')
    # The libraries' inferencers look for it there.
    assert 'LoadImageFromFile' in kinds(dumped.test_dataloader)


def test_label_maps_are_checked_against_the_heads_classes():
    cfg = load_config('semfpn_glnet_4g_80k')
    cfg.val_dataloader.dataset.ignore_index = 7
    use_checked_parts(cfg, ['train', 'val'])
    found = [
        step
        for split in ('train', 'val')
        for step in nested_dicts(cfg[f'{split}_dataloader'])
        if step.get('type') == 'CheckedLoadLabels'
    ]
    assert [step['num_classes'] for step in found] == [150, 150]
    assert [step['ignore_index'] for step in found] == [None, 7]


@pytest.mark.parametrize('name', ['maskrcnn_glnet_4g_3x', 'semfpn_glnet_4g_80k'])
def test_a_tests_config_serves_the_inferencers_again(name):
    cfg = load_config(name)
    before = cfg.test_dataloader.to_dict()
    use_checked_parts(cfg, ['test'])
    assert 'CheckedLoadImage' in kinds(cfg.test_dataloader)
    use_own_loading(cfg)
    assert cfg.test_dataloader.to_dict() == before


def test_only_losses_with_class_weights_are_replaced():
    cfg = load_config('upernet_glnet_4g_160k')
    cfg.model.decode_head.loss_decode.class_weight = [1.0] * 150
    use_checked_parts(cfg, ['test'])
    assert 'WeightedCrossEntropyLoss' not in kinds(cfg.model)
    use_checked_parts(cfg, ['train'])
    assert cfg.model.decode_head.loss_decode.type == 'WeightedCrossEntropyLoss'
    assert cfg.model.auxiliary_head.loss_decode.type == 'CrossEntropyLoss'


def test_mmcvs_own_loading_raises_what_it_always_did(tmp_path):
    with pytest.raises(FileNotFoundError):
        LoadImageFromFile()(dict(img_path=str(tmp_path / 'absent.jpg')))
