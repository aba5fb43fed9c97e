"""Fused backbones: the same outputs, and no way to train or save them by mistake."""

import golden
import pytest
import torch
from families import FAMILIES, FIRST, SMALL, build_small, pretrained, randomised
from torch import nn

from glmix_mm.errors import UserError
from glmix_mm.models import GLNet
from glmix_mm.models.layers import LayerScale


def check_same(model, x):
    with torch.no_grad():
        expected = model(x)
        fused = model.fuse()
        assert fused is model and model.fuse() is model
        for found, reference in zip(model(x), expected, strict=True):
            torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(('name', 'kind'), SMALL, ids=lambda value: value)
def test_outputs_are_the_same(name, kind):
    check_same(randomised(build_small(name, kind)).eval(), golden.image(2, 70, 93))


@pytest.mark.parametrize(
    ('options', 'left'),
    [
        (dict(), 0),
        (dict(branches='local'), 0),
        (dict(branches='global'), 0),
        (dict(slot_attention=False), 3),  # nothing linear ends the branch: one scale a block stays
    ],
    ids=str,
)
def test_layer_scales_of_glnet(options, left):
    model = randomised(GLNet(dict(FAMILIES['glnet'].small['ovlp'], **options))).eval()
    assert sum(isinstance(module, LayerScale) for module in model.modules()) == 10
    check_same(model, golden.image(1, 64, 64))
    assert sum(isinstance(module, LayerScale) for module in model.modules()) == left


def test_official_numbers_in_float32(tmp_path):
    model = pretrained('glnet', '4g', tmp_path, torch.float32).fuse()
    for case in golden.expected('glnet_4g'):
        with torch.no_grad():
            pyramid = model(golden.image(*case['input']).float())
        for found, expected in zip(pyramid, case['pyramid'], strict=True):
            golden.assert_close(found, expected, 1e-4)


@pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
def test_no_training_no_saving(name, kind):
    model = build_small(name, kind)
    with pytest.raises(UserError, match='call eval'):
        model.fuse()
    model.eval().fuse()
    with pytest.raises(UserError, match='fused for inference'):
        model.train()
    with pytest.raises(UserError, match='save the checkpoint'):
        model.state_dict()
    with pytest.raises(UserError, match='save the checkpoint'):
        nn.ModuleDict(dict(backbone=model)).state_dict()
