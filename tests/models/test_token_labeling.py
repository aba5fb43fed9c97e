"""Token labeling against a literal implementation and the golden numbers; official checkpoints."""

import golden
import numpy as np
import plain_token_labeling as plain
import pytest
import torch
from families import FAMILIES, randomised, twin_of
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample

from glmix_mm.checkpoints.fit import check_fit
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.models import token_labeling
from glmix_mm.models.build import build_model
from glmix_mm.models.classifier import official_weights
from glmix_mm.models.pretrained import load_pretrained
from glmix_mm.models.token_labeling import Box, crop_targets, mix, random_box, spread
from glmix_mm.profiling.flops import EmptyOnMeta

CLASSES = 7
LABELS = (3, 5, 4)  # k, h, w of a file
AUXILIARY = 'tklb_aux_head.'


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def model():
    """Return a small classifier with every kind of block, its numbers drawn, and its twin."""
    cfg = load_config('imagenet/glnet_4g_tklb')
    arch = FAMILIES['glnet'].small['ovlp']
    cfg.model.backbone.update(arch=arch, drop_path_rate=0.0)
    cfg.model.neck.in_channels = cfg.model.head.in_channels = arch['channels'][-1]
    cfg.model.head.num_classes = CLASSES
    model = randomised(MODELS.build(cfg.model))
    return model, *twin_of('glnet', model.backbone)


def heads(model):
    return [(layer.weight, layer.bias) for layer in (model.head.fc, model.head.dense_fc)]


def draw_labels(count, seed=0):
    """Return labels (count, 2, k, h, w): scores, and as many different classes at each position."""
    rng = np.random.default_rng(seed)
    k, height, width = LABELS
    classes = rng.permuted(np.tile(np.arange(CLASSES), (count, height, width, 1)), axis=-1)
    classes = classes[..., :k].transpose(0, 3, 1, 2)
    scores = 3 * rng.standard_normal((count, *LABELS))
    return np.stack([scores, classes], 1).astype(np.float32)


CROPS = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.95, 0.75], [0.1, 0, 0.35, 0.9]], np.float32)


@pytest.mark.parametrize('size', [(7, 7), (3, 2), (2, 4)])
def test_targets_equal_the_literal_ones(size):
    labels = draw_labels(3)
    scores = spread(torch.as_tensor(labels), CLASSES).double()
    cells, image = crop_targets(scores, torch.as_tensor(CROPS).double(), size, 0.1)
    for n, (label, crop) in enumerate(zip(labels, CROPS.astype(float), strict=True)):
        whole, parts = plain.targets(label, crop, CLASSES, *size)
        torch.testing.assert_close(image[n], whole, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(cells[n], parts, rtol=1e-9, atol=1e-12)
    for part in (cells, image):
        assert torch.allclose(part.sum(1), torch.ones(()).double())


def test_targets_of_the_whole_image_are_its_labels():
    scores = spread(torch.as_tensor(draw_labels(1)), CLASSES)
    cells, _ = crop_targets(scores, torch.tensor([[0.0, 0, 1, 1]]), LABELS[1:], 0.0)
    torch.testing.assert_close(cells, scores.softmax(1))


def test_boxes_are_those_of_cutmix():
    np.random.seed(0)
    boxes = [random_box(1000, 500) for _ in range(4000)]
    for top, left, bottom, right in boxes:
        assert 0 <= top <= bottom <= 1000 and 0 <= left <= right <= 500
    # A side of c = sqrt(u) is cut to c - c^2 / 4 on average: u - u^1.5 / 2 + u^2 / 16.
    share = np.mean([box.area / 500_000 for box in boxes])
    assert share == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.015)
    assert {random_box(1, 1) for _ in range(9)} <= {(0, 0, 0, 0), (0, 0, 1, 1)}


def test_mixing_equals_the_literal_one():
    maps = golden.image(3, 5, 6)
    assert torch.equal(mix(maps, Box(1, 2, 4, 6)), plain.exchange(maps, 1, 2, 4, 6))
    assert torch.equal(mix(maps, Box(3, 3, 3, 3)), maps)


@pytest.mark.parametrize(
    ('size', 'box'),
    [((96, 64), Box(1, 0, 3, 1)), ((70, 100), Box(0, 1, 2, 3)), ((64, 64), Box(1, 1, 1, 1))],
    ids=['part', 'odd size', 'nothing'],
)
def test_losses_and_gradients_equal_the_literal_ones(size, box, model, monkeypatch):
    model, twin, renamed = model
    model.train()
    twin.train()
    drawn = []
    monkeypatch.setattr(token_labeling, 'random_box', lambda *grid: drawn.append(grid) or box)
    images, labels = golden.image(3, *size), draw_labels(3)
    samples = []
    for label, crop in zip(labels, CROPS, strict=True):
        sample = DataSample()
        sample.set_field(label, 'token_labels')
        sample.set_field(crop, 'crop')
        samples.append(sample)
    found = model.loss(images, samples)
    assert drawn == [(size[0] // 32, size[1] // 32)]
    expected = plain.losses(twin, model.neck.norm, *heads(model), images, labels, CROPS, box)
    # Labels and crops are float32 in the model.
    torch.testing.assert_close(found['loss_image'], expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found['loss_dense'], expected[1], rtol=1e-6, atol=0)

    follow = [*model.neck.parameters(), *model.head.parameters()]
    wanted = torch.autograd.grad(sum(expected), [*twin.parameters(), *follow])
    total, _ = model.parse_losses(found)
    total.backward()
    ours = dict(model.backbone.named_parameters())
    own = [ours[renamed[key]] for key, _ in twin.named_parameters()]
    scale = max(grad.abs().max() for grad in wanted)
    for parameter, grad in zip([*own, *follow], wanted, strict=True):
        error = (parameter.grad.reshape(grad.shape) - grad).abs().max()
        assert error < 1e-5 * max(grad.abs().max(), 1e-3 * scale)
    assert not model.backbone.stages[0].embed._forward_hooks


def test_evaluation_equals_the_literal_one(model):
    model, twin, _ = model
    model.eval()
    twin.eval()
    images = golden.image(2, 70, 100)
    with torch.no_grad():
        expected = plain.evaluation(twin, model.neck.norm, *heads(model), images)
        torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-11)


def auxiliary(entries):
    """Return the auxiliary head's keys, for what the keys of a head hold."""
    return {
        AUXILIARY + key.removeprefix('head.'): entries[key]
        for key in entries
        if key.startswith('head.')
    }


def official_zeros(variant, auxiliary_head):
    """Return a checkpoint's tensors, all of zeros that take no memory."""
    keys = golden.official_keys(f'glnet_{variant}')
    keys |= auxiliary(keys) if auxiliary_head else {}
    return {key: torch.zeros(()).expand(shape) for key, shape in keys.items()}


@pytest.fixture(scope='module')
def official():
    """Return GLNet-4G's checkpoint with its auxiliary head, filled by the same rule."""
    state = golden.official_state('glnet_4g')
    shapes = auxiliary({key: value.shape for key, value in state.items()})
    return state | {key: torch.as_tensor(golden.fill(key, s)) for key, s in shapes.items()}


@pytest.mark.parametrize('variant', ['4g', '9g'])
def test_official_checkpoints_fit_tensor_by_tensor(variant):
    official = official_zeros(variant, auxiliary_head=True)
    cfg = load_config(f'imagenet/glnet_{variant}_tklb')
    with EmptyOnMeta():
        model = build_model(cfg)
    state = official_weights(model, dict(model=official), 'official.pth')
    assert len(state) == len(official), 'nothing is left out'
    check_fit(model.state_dict(), dict(state_dict=state), 'official.pth', cfg)


def test_official_logits_with_a_constant_auxiliary_head(official):
    model = build_model(load_config('imagenet/glnet_4g_tklb')).eval()
    weight = AUXILIARY + 'weight'
    official = official | {weight: torch.zeros_like(official[weight])}
    model.load_state_dict(official_weights(model, dict(model=official), 'official.pth'))
    case = min(golden.expected('glnet_4g'), key=lambda case: torch.Size(case['input']).numel())
    with torch.no_grad():
        logits = model(golden.image(*case['input']).float())
    golden.assert_close(logits - 0.5 * official[AUXILIARY + 'bias'], case['logits'], 1e-4)


@pytest.mark.parametrize(
    ('config', 'auxiliary_head', 'expected'),
    [
        ('glnet_4g', True, r'2 unexpected \(head\.dense_fc\.weight'),
        ('glnet_4g_tklb', False, r'2 missing \(head\.dense_fc\.weight'),
    ],
)
def test_a_checkpoint_of_the_other_training_does_not_fit(config, auxiliary_head, expected):
    cfg = load_config(f'imagenet/{config}')
    with EmptyOnMeta():
        model = build_model(cfg)
    state = official_weights(model, official_zeros('4g', auxiliary_head), 'official.pth')
    with pytest.raises(UserError, match=expected):
        check_fit(model.state_dict(), dict(state_dict=state), 'official.pth', cfg)


def test_a_detector_starts_from_it_without_its_heads(official, tmp_path, monkeypatch):
    torch.save(dict(model=official), tmp_path / 'glnet_4g_tklb.pth')
    monkeypatch.setenv('GLMIX_CHECKPOINTS', str(tmp_path))
    cfg = load_config(
        'maskrcnn_glnet_4g_1x', {'model.backbone.init_cfg.checkpoint': 'glmix://glnet_4g_tklb'}
    )
    backbone = MODELS.build(cfg.model.backbone)
    report = load_pretrained(backbone, backbone.init_cfg['checkpoint'], backbone.renames)
    # Left out by name: norm (5 tensors), head and tklb_aux_head (2 each). Nothing else is.
    assert "loaded 634 of 642 tensors from 'model'" in report
    assert 'left out 9 ' in report
    names = dict(backbone.named_parameters())
    expected = official['stages.3.blocks.3.mha_op.in_proj_weight']
    assert torch.equal(names['stages.3.blocks.3.mixer.qkv.weight'], expected.float())
