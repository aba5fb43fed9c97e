"""The classifiers: official logits, what is missing, and the neck beside torch's own layers."""

import golden
import pytest
import torch
from families import OFFICIAL, build_small
from mmengine.registry import DefaultScope
from torch.nn import functional as F

from glmix_mm.checkpoints.fit import check_fit
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.models import NormPool
from glmix_mm.models.build import build_model
from glmix_mm.models.classifier import official_weights
from glmix_mm.models.pretrained import load_pretrained
from glmix_mm.profiling.flops import EmptyOnMeta

# The logits of all variants are compared in test_backbones.py; here, through the shipped configs.
SMALLEST = [('glnet', '4g'), ('dilateformer', 'tiny'), ('fcvit', 'tiny')]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def classifier(name, variant):
    """Return the shipped config and its model."""
    cfg = load_config(f'imagenet/{name}_{variant}')
    return cfg, build_model(cfg).eval()


@pytest.mark.parametrize(('name', 'variant'), OFFICIAL, ids=str)
def test_official_checkpoints_fit_tensor_by_tensor(name, variant):
    keys = golden.official_keys(f'{name}_{variant}')
    official = {f'module.{key}': torch.zeros(()).expand(shape) for key, shape in keys.items()}
    with EmptyOnMeta():
        cfg, model = classifier(name, variant)
    state = official_weights(model, dict(model=official), 'official.pth')
    assert len(state) == len(official), 'nothing is left out'
    check_fit(model.state_dict(), dict(state_dict=state), 'official.pth', cfg)
    counted = sum(p.numel() for p in model.parameters())
    assert counted == golden.expected(f'{name}_{variant}')[0]['params']


@pytest.mark.parametrize(('name', 'variant'), SMALLEST, ids=str)
def test_official_logits(name, variant):
    _, model = classifier(name, variant)
    official = golden.official_state(f'{name}_{variant}')
    model.load_state_dict(official_weights(model, official, 'official.pth'))
    cases = golden.expected(f'{name}_{variant}')
    case = min(cases, key=lambda case: torch.Size(case['input']).numel())
    with torch.no_grad():
        logits = model(golden.image(*case['input']).float())
    golden.assert_close(logits, case['logits'], 1e-4)


def test_the_average_is_preferred():
    _, model = classifier('fcvit', 'tiny')
    state = golden.official_state('fcvit_tiny')
    average = {key: value + 1 for key, value in state.items()}
    found = official_weights(model, dict(model=state, model_ema=average), 'official.pth')
    assert torch.equal(found['head.fc.bias'], average['head.bias'])


def test_a_checkpoint_that_lacks_the_head_does_not_fit():
    cfg, model = classifier('fcvit', 'tiny')
    state = golden.official_state('fcvit_tiny')
    del state['head.weight']
    found = dict(state_dict=official_weights(model, state, 'official.pth'))
    with pytest.raises(UserError, match=r'official\.pth .*1 missing \(head\.fc\.weight\)'):
        check_fit(model.state_dict(), found, 'official.pth', cfg)


def test_own_checkpoints_and_other_models_are_left_alone():
    _, model = classifier('fcvit', 'tiny')
    assert official_weights(model, dict(state_dict=model.state_dict()), 'own.pth') is None
    assert official_weights(model.backbone, dict(), 'any.pth') is None


@pytest.mark.parametrize(
    ('norm', 'literal'),
    [
        ('layer', lambda x, w, b: F.layer_norm(x.permute(0, 2, 3, 1), (12,), w, b, 1e-6)),
        (
            'group',
            lambda x, w, b: F.group_norm(x, 1, w, b, 1e-5).permute(0, 2, 3, 1),
        ),
        (
            'batch',
            lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True).permute(0, 2, 3, 1),
        ),
    ],
)
@pytest.mark.parametrize('batch', [1, 2])
def test_neck_equals_torch(norm, literal, batch):
    neck = NormPool(12, norm).double()
    weight, bias = (p.data.copy_(torch.randn(12)) for p in neck.parameters())
    x = golden.image(batch, 20, 12).reshape(batch, 12, 5, 12).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    found = neck((None, x))[0]
    expected = literal(twin, weight, bias).flatten(1, 2).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    factors = golden.image(1, batch, 4).reshape(batch, 12)
    (found * factors).sum().backward()
    (expected * factors).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-8, atol=1e-12)


def test_unknown_norm():
    with pytest.raises(UserError, match=r"norm='BN' .*batch, layer, group"):
        NormPool(12, 'BN')


@pytest.mark.parametrize('name', ['glnet', 'dilateformer', 'fcvit'])
def test_without_output_norms_the_outputs_are_the_stages_own(name, tmp_path):
    kind = 'ovlp' if name == 'glnet' else 'small'
    plain = build_small(name, kind, output_norms=False, out_indices=(1, 3)).double().eval()
    assert not any(key.startswith('norm') for key in plain.state_dict())
    x = golden.image(1, 64, 48)
    with torch.no_grad():
        maps = plain.forward_stages(x)
        for found, stage in zip(plain(x), (1, 3), strict=True):
            assert torch.equal(found, maps[stage])
    # Weights of one that has norms fit, its norms left out.
    full = build_small(name, kind)
    torch.save(full.state_dict(), tmp_path / 'full.pth')
    report = load_pretrained(plain, str(tmp_path / 'full.pth'))
    assert 'left out 8 ' in report
    for key, value in plain.state_dict().items():
        assert torch.equal(value, full.state_dict()[key].to(value.dtype))
