"""This project's own pairs of method and backbone, against mmdet's own configs."""

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from shipped_configs import OWN_PAIRS, TINY_ARCHS

from glmix_mm.profiling.flops import EmptyOnMeta

DINO, MASK2FORMER, RTMDET = OWN_PAIRS
# Config -> mmdet's config whose recipe and heads it has.
MMDETS = {
    DINO: 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    MASK2FORMER: 'mmdet::mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco.py',
    RTMDET: 'mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py',
}
TYPES = {'glnet': 'GLNet', 'dilateformer': 'DilateFormer', 'fcvit': 'FCViT'}
# The parts that take the backbone's maps, and so have other widths.
INPUTS = {
    DINO: ('neck.',),
    MASK2FORMER: (
        'panoptic_head.pixel_decoder.input_convs.',
        'panoptic_head.pixel_decoder.lateral_convs.',
    ),
    RTMDET: ('neck.',),
}


@pytest.fixture
def mmdets(tmp_path):
    """Resolve mmdet's config of the same method."""

    def resolve(name: str) -> Config:
        (tmp_path / 'mmdets.py').write_text(f"_base_ = '{MMDETS[name]}'\n")
        return Config.fromfile(tmp_path / 'mmdets.py')

    return resolve


@pytest.mark.parametrize('name', OWN_PAIRS)
def test_all_but_backbone_and_batch_is_mmdets(load, mmdets, name):
    own, other = load(name), mmdets(name)
    assert own.param_scheduler == other.param_scheduler
    assert own.train_cfg == other.train_cfg and own.val_evaluator == other.val_evaluator
    for split in ('train', 'val'):
        loaders = own[f'{split}_dataloader'], other[f'{split}_dataloader']
        assert loaders[0].dataset == loaders[1].dataset
    assert own.get('custom_hooks') == other.get('custom_hooks')
    assert own.optim_wrapper.get('clip_grad') == other.optim_wrapper.get('clip_grad')


@pytest.mark.parametrize('name', OWN_PAIRS)
def test_heads_are_mmdets(load, mmdets, name):
    shapes = []
    for cfg in (load(name), mmdets(name)):
        cfg.model.backbone.init_cfg = None
        with EmptyOnMeta():
            model = MODELS.build(cfg.model)
        shapes.append(
            {
                key: weight.shape
                for key, weight in model.state_dict().items()
                if not key.startswith(('backbone.', *INPUTS[name]))
            }
        )
    assert shapes[0] == shapes[1] and len(shapes[0]) > 20


@pytest.mark.parametrize('family', TINY_ARCHS)
def test_a_slow_backbone_whose_norms_do_not_decay(nano, family):
    cfg = nano(MASK2FORMER)
    cfg.model.backbone.update(type=TYPES[family], arch=TINY_ARCHS[family])
    cfg.model.panoptic_head.in_channels = list(MODELS.build(cfg.model.backbone).out_channels)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    found = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    norms = {
        id(parameter)
        for module in model.modules()
        if 'Norm' in type(module).__name__
        for parameter in module.parameters(recurse=False)
    }
    embeddings = ('query_embed', 'query_feat', 'level_embed')
    for key, parameter in model.named_parameters():
        rate = 1e-5 if key.startswith('backbone.') else 1e-4
        flat = id(parameter) in norms or any(name in key for name in embeddings)
        assert found[id(parameter)] == pytest.approx((rate, 0.0 if flat else 0.05)), key
    assert len(norms) > 40
