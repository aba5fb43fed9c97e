"""The backbones as timm's models: official logits, features, and what cannot be had."""

import golden
import pytest
import torch
from families import FAMILIES, OFFICIAL

from glmix_mm.errors import UserError
from glmix_mm.models.classifier import official_weights
from glmix_mm.profiling.flops import EmptyOnMeta

timm = pytest.importorskip('timm')
SMALLEST = [('glnet', '4g'), ('dilateformer', 'tiny'), ('fcvit', 'tiny')]


def smallest_case(name):
    cases = golden.expected(name)
    return min(cases, key=lambda case: torch.Size(case['input']).numel())


@pytest.mark.parametrize(('family', 'arch'), SMALLEST, ids=str)
def test_official_logits_and_stages(family, arch, tmp_path, monkeypatch):
    name = f'{family}_{arch}'
    torch.save(dict(model=golden.official_state(name)), tmp_path / f'{name}.pth')
    monkeypatch.setenv('GLMIX_CHECKPOINTS', str(tmp_path))
    model = timm.create_model(name, pretrained=True).eval()
    case = smallest_case(name)
    x = golden.image(*case['input']).float()
    with torch.no_grad():
        logits = model(x)
        golden.assert_close(logits, case['logits'], 1e-4)
        features = timm.create_model(name, pretrained=True, features_only=True).eval()
        for found, expected in zip(features(x), case['stages'], strict=True):
            golden.assert_close(found, expected, 1e-4)
        # A head of one's own classes keeps the rest.
        other = timm.create_model(name, pretrained=True, num_classes=7).eval()
        assert other(x).shape == (len(x), 7)
        assert torch.equal(other.forward_features(x), model.forward_features(x))


@pytest.mark.parametrize(('family', 'arch'), OFFICIAL, ids=str)
def test_all_variants_hold_the_official_tensors(family, arch):
    name = f'{family}_{arch}'
    assert timm.is_model(name)
    keys = golden.official_keys(name)
    official = {key: torch.empty(shape, device='meta') for key, shape in keys.items()}
    with EmptyOnMeta():
        model = timm.create_model(name)
    state = official_weights(model, dict(model=official), name)
    expected = {key: value.shape for key, value in model.state_dict().items()}
    counters = {key for key in expected if key.endswith('num_batches_tracked')}
    assert {key: value.shape for key, value in state.items()}.items() <= expected.items()
    assert expected.keys() - state.keys() <= counters
    assert sum(p.numel() for p in model.parameters()) == golden.expected(name)[0]['params']


@pytest.mark.parametrize('indices', [None, (1, 3), (0, 2)], ids=str)
def test_features(indices):
    options = {} if indices is None else dict(out_indices=indices)
    model = timm.create_model('glnet_nano', features_only=True, **options).eval()
    wanted = indices or (0, 1, 2, 3)
    assert model.feature_info.channels() == [(32, 64, 128, 192)[i] for i in wanted]
    assert model.feature_info.reduction() == [(4, 8, 16, 32)[i] for i in wanted]
    with torch.no_grad():
        maps = model(golden.image(1, 65, 96).float())
    assert [tuple(map_.shape) for map_ in maps] == [
        (1, channels, -(-65 // stride), -(-96 // stride))
        for channels, stride in zip(
            model.feature_info.channels(), model.feature_info.reduction(), strict=True
        )
    ]
    backbone = FAMILIES['glnet'].cls('nano', output_norms=False, out_indices=wanted).eval()
    state = {key.removeprefix('model.backbone.'): v for key, v in model.state_dict().items()}
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
    with torch.no_grad():
        for found, expected in zip(maps, backbone(golden.image(1, 65, 96).float()), strict=True):
            assert torch.equal(found, expected)


def test_training_goes_through_timms_switches():
    model = timm.create_model('fcvit_tiny', num_classes=5, drop_path_rate=0.1)
    model.set_grad_checkpointing()
    model(golden.image(2, 32, 32).float()).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.reset_classifier(3)
    assert model.get_classifier().out_features == model.num_classes == 3
    model.reset_classifier(0)
    model.eval()
    assert model(golden.image(1, 32, 32).float()).shape == (1, model.num_features)


@pytest.mark.parametrize(('family', 'arch'), [('glnet', 'nano'), *SMALLEST[1:]], ids=str)
def test_images_of_other_channels(family, arch):
    """One channel is as three equal ones; of six, two equal triples are as one."""
    name, images = f'{family}_{arch}', golden.image(1, 64, 64).float()
    grey = images[:, :1]
    for channels, own, same in (
        (1, grey, grey.expand(-1, 3, -1, -1)),
        (6, images.repeat(1, 2, 1, 1), images),
    ):
        torch.manual_seed(0)
        model = timm.create_model(name, features_only=True, in_chans=channels).eval()
        torch.manual_seed(0)
        plain = timm.create_model(name, features_only=True).eval()
        with torch.no_grad():
            for found, expected in zip(model(own), plain(same), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'crop'), [('glnet_4g', 0.875), ('dilateformer_base', 0.875), ('fcvit_b12', 0.9)]
)
def test_images_are_tested_as_the_authors_test_them(name, crop):
    cfg = timm.models.get_pretrained_cfg(name)
    assert (cfg.crop_pct, cfg.interpolation) == (crop, 'bicubic')
    for wrong in (dict(crop_pct=2), dict(interpolation='cubic')):
        with pytest.raises(UserError, match=r'glnet 0\.875 bicubic, .*fcvit_b12 0\.9 bicubic'):
            timm.create_model('glnet_nano', pretrained_cfg_overlay=wrong)


def test_what_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv('GLMIX_CHECKPOINTS', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(UserError, match=r'glnet_4g\.pth .*https'):
        timm.create_model('glnet_4g', pretrained=True)
    with pytest.raises(UserError, match=r'glnet_nano: .*no weights'):
        timm.create_model('glnet_nano', pretrained=True)
    with pytest.raises(UserError, match=r"global_pool='max'; .*in_chans"):
        timm.create_model('glnet_nano', global_pool='max')
