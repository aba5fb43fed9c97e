"""GLNet against the official numbers, the literal implementation and finite differences."""

from dataclasses import asdict

import golden
import pytest
import torch
from mmengine.registry import MODELS
from plain_glnet import PlainGLNet
from torch import nn

from glmix_mm.errors import UserError
from glmix_mm.models import GLNet
from glmix_mm.models.glnet import ARCHS, resolve_arch
from glmix_mm.models.pretrained import rename

OFFICIAL = ('stl', 'stl_paramslot', '4g', '9g', '16g')
SMALL = dict(  # every kind of block and both layer scales, in little time
    ovlp=dict(asdict(ARCHS['4g']), channels=(32, 32, 64, 64), depths=(1, 1, 2, 1), layer_scale=0.5),
    stl=dict(asdict(ARCHS['stl']), channels=(32, 32, 64, 64), depths=(1, 1, 1, 1)),
    param=dict(asdict(ARCHS['stl_paramslot']), channels=(32, 32, 64, 64), depths=(1, 1, 1, 1)),
)


def pretrained(name, folder, dtype, **options):
    path = folder / f'{name}.pth'
    torch.save({'model': golden.official_state(name)}, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    model = GLNet(name.removeprefix('glnet_'), init_cfg=init_cfg, **options).to(dtype)
    model.init_weights()
    return model.eval()


def randomised(model, seed=0):
    """Give every parameter and statistic a value that matters, float64."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    for name, tensor in model.state_dict().items():
        if 'num_batches' in name:
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if name.endswith('running_var'):
            tensor.copy_(1 + noise.abs())
        elif name.endswith('slot_scale'):
            tensor.copy_(4 + noise)
        elif tensor.dim() > 1:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(noise * 0.3 + (not name.endswith(('bias', 'running_mean'))))
    return model


def twin_of(model, arch):
    """Return the literal implementation with the model's weights."""
    twin = PlainGLNet(arch).double()
    ours = model.state_dict()
    renamed = {key: rename(key, model.renames, ours) for key in twin.state_dict()}
    twin.load_state_dict(
        {key: ours[new].reshape(twin.state_dict()[key].shape) for key, new in renamed.items()}
    )
    return twin, renamed


@pytest.mark.parametrize('name', OFFICIAL)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_official_numbers(name, dtype, tolerance, tmp_path):
    model = pretrained(f'glnet_{name}', tmp_path, dtype)
    for case in golden.expected(f'glnet_{name}'):
        x = golden.image(*case['input']).to(dtype)
        with torch.no_grad():
            stages, pyramid = model.forward_stages(x), model(x)
        for found, expected in zip(
            [*stages, *pyramid], case['stages'] + case['pyramid'], strict=True
        ):
            golden.assert_close(found, expected, tolerance)


@pytest.mark.parametrize('name', OFFICIAL)
def test_parameter_count(name):
    keys = golden.official_keys(f'glnet_{name}')
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    classifier = sum(
        torch.Size(shape).numel()
        for key, shape in keys.items()
        if key.startswith(('norm.', 'head.')) and not key.endswith(buffers)
    )
    official = golden.expected(f'glnet_{name}')[0]['params']
    model = GLNet(name)
    norms = 2 * sum(model.out_channels)
    assert sum(p.numel() for p in model.parameters()) == official - classifier + norms


def test_nano_is_small_and_has_every_block():
    model = GLNet('nano')
    assert 0.8e6 < sum(p.numel() for p in model.parameters()) < 1.2e6
    assert {type(m).__name__ for m in model.modules()} >= {'GLMix', 'GlobalAttention', 'ConvFFN'}


@pytest.mark.parametrize('kind', SMALL)
@pytest.mark.parametrize(
    'size', [(1, 32, 32), (2, 33, 47), (1, 64, 95), (1, 130, 33), (3, 79, 101)]
)
def test_odd_sizes_equal_the_literal_implementation(kind, size):
    model = randomised(GLNet(SMALL[kind])).eval()
    twin = twin_of(model, resolve_arch(SMALL[kind]))[0].eval()
    x = golden.image(*size)
    for ours, theirs in zip(model.forward_stages(x), twin(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('kind', SMALL)
@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('training', [False, True])
def test_gradients_equal_the_literal_implementation(kind, batch, training):
    model = randomised(GLNet(SMALL[kind])).train(training)
    twin, renamed = twin_of(model, resolve_arch(SMALL[kind]))
    twin.train(training)
    x = golden.image(batch, 64, 96)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = [golden.image(*m.shape[::2], m.shape[3]).sum(1, keepdim=True) for m in twin(x)]
    twin.load_state_dict(twin_of(model, resolve_arch(SMALL[kind]))[0].state_dict())
    sum((m * w).sum() for m, w in zip(model.forward_stages(x1), weights, strict=True)).backward()
    sum((m * w).sum() for m, w in zip(twin(x2), weights, strict=True)).backward()
    torch.testing.assert_close(x1.grad, x2.grad, rtol=1e-7, atol=1e-7)
    ours = dict(model.named_parameters())
    for key, parameter in twin.named_parameters():
        found = ours[renamed[key]].grad.reshape(parameter.shape)
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            found, parameter.grad, rtol=1e-7, atol=1e-8 * max(scale, 1), msg=key
        )


def directional_error(model, x, seed):
    """Relative error of a derivative along a random direction of all parameters and the input."""
    generator = torch.Generator().manual_seed(seed)

    def noise(t):
        return torch.randn(t.shape, generator=generator, dtype=torch.float64)

    x = x.clone().requires_grad_()
    leaves = [x, *model.parameters()]
    weights = [noise(m) for m in model(x)]
    direction = [noise(leaf) * leaf.detach().abs().mean() for leaf in leaves]
    norm = sum((d**2).sum() for d in direction).sqrt()
    direction = [d / norm for d in direction]

    def value():
        return sum((m * w).sum() for m, w in zip(model(x), weights, strict=True))

    grads = torch.autograd.grad(value(), leaves)
    analytic = sum((g * d).sum() for g, d in zip(grads, direction, strict=True)).item()
    step = 1e-4
    values = []
    with torch.no_grad():  # five-point stencil: the error is of order step^4
        for k in (-2, -1, 1, 2):
            for leaf, d in zip(leaves, direction, strict=True):
                leaf.add_(d, alpha=k * step)
            values.append(value().item())
            for leaf, d in zip(leaves, direction, strict=True):
                leaf.sub_(d, alpha=k * step)
    numeric = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return abs(analytic - numeric) / max(abs(numeric), 1e-3)


@pytest.mark.parametrize('arch', [*OFFICIAL, 'nano'])
@pytest.mark.parametrize('batch', [1, 2])
def test_gradients_of_every_variant_by_finite_differences(arch, batch):
    model = randomised(GLNet(arch)).train()
    assert directional_error(model, golden.image(batch, 64, 64), seed=batch) < 1e-5


ABLATIONS = [
    dict(),
    dict(branches='local'),
    dict(branches='global'),
    dict(clustering='static'),
    dict(clustering='kmeans'),
    dict(slot_attention=False),
    dict(local_kernel_size=3),
    dict(slot_grid=(4, 7)),
]


@pytest.mark.parametrize('options', ABLATIONS, ids=str)
@pytest.mark.parametrize('batch', [1, 2])
def test_gradients_of_every_block_kind_by_finite_differences(options, batch):
    arch = SMALL['param'] if options.get('clustering') == 'static' else SMALL['ovlp']
    model = randomised(GLNet(arch, **options)).train()
    assert directional_error(model, golden.image(batch, 48, 64), seed=3) < 1e-5
    model(golden.image(batch, 48, 64))[-1].sum().backward()


@pytest.mark.parametrize('options', ABLATIONS, ids=str)
def test_every_parameter_gets_a_gradient(options):
    arch = SMALL['param'] if options.get('clustering') == 'static' else SMALL['ovlp']
    model = GLNet(arch, **options)
    sum(m.square().sum() for m in model(torch.randn(2, 3, 64, 64))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_gradient_checkpointing_changes_nothing():
    model = randomised(GLNet(SMALL['ovlp'])).train()
    recomputing = randomised(GLNet(SMALL['ovlp'], with_cp=True)).train()
    x = golden.image(2, 64, 64)
    for one, other in zip(model(x), recomputing(x), strict=True):
        assert torch.equal(one, other)
    for net in (model, recomputing):
        sum(m.square().sum() for m in net(x)).backward()
    for one, other in zip(model.parameters(), recomputing.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-10)


def test_gradient_checkpointing_keeps_less():
    def saved_bytes(**options):
        model = GLNet('nano', **options).train()
        kept = []
        pack = lambda t: kept.append(t.numel() * t.element_size()) or t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            model(torch.randn(1, 3, 64, 64))
        return sum(kept)

    assert saved_bytes(with_cp=True) < 0.5 * saved_bytes()


def test_drop_path_rises_linearly_and_keeps_the_mean():
    model = GLNet('4g', drop_path_rate=0.29)
    rates = [getattr(block.drop_path, 'p', 0.0) for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.29 * i / 29 for i in range(30)])
    drop = model.stages[3].blocks[3].drop_path.train()
    torch.manual_seed(0)
    kept = drop(torch.ones(20000, 1, 1, 1))
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.71])
    assert kept.mean().item() == pytest.approx(1, abs=0.02)


def test_output_norm_is_not_fed_to_the_next_stage():
    model = randomised(GLNet(SMALL['ovlp'])).eval()
    x = golden.image(1, 64, 64)
    before = model(x)[3]
    with torch.no_grad():
        model.norm0.weight.zero_()
    assert torch.equal(model(x)[3], before)
    assert torch.equal(model(x)[0], model.norm0.bias.view(1, -1, 1, 1).expand_as(model(x)[0]))


def test_out_indices_leave_out_what_is_not_needed():
    model = GLNet('nano', out_indices=(1, 2))
    assert model.out_channels == (64, 128)
    assert len(model.stages) == 3 and not hasattr(model, 'norm0')
    assert [m.shape[1] for m in model(torch.randn(1, 3, 64, 64))] == [64, 128]


def test_eval_and_train_return_self_and_heed_norm_eval():
    model = GLNet('nano', norm_eval=True)
    assert model.train() is model and model.eval() is model
    norms = [m for m in model.train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    assert all(m.weight.requires_grad for m in norms)
    before = norms[0].running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert torch.equal(norms[0].running_mean, before)
    assert any(m.training for m in GLNet('nano').train().modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('frozen', [-1, 0, 1, 3, 4])
def test_frozen_stages(frozen):
    model = GLNet('nano', frozen_stages=frozen).train()
    names = {name for name, p in model.named_parameters() if not p.requires_grad}
    expected = {
        n for n, _ in model.named_parameters() if n.startswith('stages.0.embed') and frozen >= 0
    }
    for i in range(max(frozen, 0)):
        expected |= {
            n for n, _ in model.named_parameters() if n.startswith((f'stages.{i}.', f'norm{i}.'))
        }
    assert names == expected
    statistics = model.stages[0].embed[1].running_mean.clone()
    out = model(torch.randn(2, 3, 64, 64))
    if frozen < 4:
        out[-1].sum().backward()
    assert torch.equal(model.stages[0].embed[1].running_mean, statistics) == (frozen >= 0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_close_and_finite(dtype):
    torch.manual_seed(0)
    model = GLNet('nano').eval()
    x = torch.randn(1, 3, 96, 128)
    reference = model.double()(x.double())
    with torch.autocast('cpu', dtype):
        found = model.float()(x)
    for a, b in zip(found, reference, strict=True):
        assert (a.double() - b).abs().mean() < 0.02 * b.std()


def test_registered_where_the_libraries_look():
    from mmdet.registry import MODELS as DET
    from mmseg.registry import MODELS as SEG

    for registry in (MODELS, DET, SEG):
        assert isinstance(registry.build(dict(type='GLNet', arch='nano')), GLNet)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='4gg'), "arch='4gg' is none of stl, stl_paramslot, 4g, 9g, 16g, nano"),
        (dict(arch=dict(channels=(32,))), 'needs'),
        (dict(arch=dict(SMALL['ovlp'], depth=3)), "'depth'"),
        (dict(arch=dict(SMALL['ovlp'], channels=(30, 32, 64, 64))), '30 channels'),
        (dict(arch=dict(SMALL['ovlp'], mixers=('glmix', 'mla', 'mha', 'mha'))), "'mla'"),
        (dict(arch='nano', out_indices=(0, 4)), 'out_indices=(0, 4)'),
        (dict(arch='nano', out_indices=()), 'out_indices=()'),
        (dict(arch='nano', frozen_stages=5), 'frozen_stages=5'),
        (dict(arch='nano', clustering='hard'), "clustering='hard'"),
        (dict(arch='nano', clustering='static'), "slot_init='param'"),
        (dict(arch='nano', branches='none'), "branches='none'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match='GL') as info:
        GLNet(**options)
    assert message in str(info.value)


def test_images_too_small():
    with pytest.raises(UserError, match='31 x 64 px are too small'):
        GLNet('nano')(torch.randn(1, 3, 31, 64))
