"""A model with a layer whose op is not served is refused before its first call."""

import sys

import pytest
from served_ops import ops
from torch import nn

from glmix_mm.compat.unserved_layers import check_layers
from glmix_mm.errors import UserError

SERVED = sys.modules['mmcv._ext'].__spec__.origin == 'glmix_mm'
needs_served = pytest.mark.skipif(not SERVED, reason='a compiled mmcv is installed')


@needs_served
@pytest.mark.parametrize(
    ('layer', 'words'),
    [
        (lambda: ops.PrRoIPool(7, 0.25), ['(PrRoIPool)', "'prroi_pool"]),
        (lambda: ops.RoIAlignRotated(7, 0.25, 0), ['(RoIAlignRotated)', "'roi_align_rotated"]),
        (lambda: ops.RoIAlign(7, pool_mode='max'), ['(RoIAlign)', "pool_mode='max'"]),
        (lambda: ops.Correlation(), ['(Correlation)', "'correlation_"]),
    ],
)
def test_layer(layer, words):
    model = nn.ModuleDict(dict(neck=nn.Identity(), roi_layers=nn.ModuleList([layer()])))
    with pytest.raises(UserError) as caught:
        check_layers(model, {})
    message = str(caught.value)
    assert message.startswith('roi_layers.0 ')
    assert all(word in message for word in [*words, 'docs/ops.md', 'mim install mmcv'])


@needs_served
@pytest.mark.parametrize('kind', ['nms_rotated', 'nms_quadri'])
def test_kind_of_nms(kind):
    settings = dict(test_cfg=[dict(rpn=dict(nms=dict(type=kind, iou_threshold=0.5)))])
    with pytest.raises(UserError, match=rf'^model\.test_cfg\.0\.rpn\.nms \(NMS\).*{kind!r}'):
        check_layers(nn.Identity(), settings)


def test_served_layers_pass():
    layers = [
        ops.RoIAlign(7),
        ops.RoIPool(7),
        ops.DeformConv2dPack(4, 4, 3),
        ops.ModulatedDeformConv2dPack(4, 4, 3),
        ops.DeformRoIPoolPack(2, 4, 8),
        ops.CARAFEPack(4, 2),
        ops.PSAMask('collect', (3, 3)),
        ops.MaskedConv2d(4, 4, 3),
        ops.MultiScaleDeformableAttention(8, 2),
        ops.CornerPool('top'),
        ops.CrissCrossAttention(8),
        ops.SAConv2d(4, 4, 3),
        ops.SigmoidFocalLoss(2, 0.25),
        nn.Linear(2, 2),
    ]
    check_layers(nn.Sequential(*layers), dict(test_cfg=dict(nms=dict(type='soft_nms'))))


@needs_served
def test_without_mmcvs_ops_nothing_is_missing(monkeypatch):
    """A compiled mmcv, or a program that imported none."""
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    check_layers(nn.Sequential(ops.PrRoIPool(7, 0.25)), {})
