"""All families alike: official numbers, literal twins, finite differences, and every option."""

from unittest import mock

import golden
import pytest
import torch
from families import (
    FAMILIES,
    FIRST,
    OFFICIAL,
    SMALL,
    build_small,
    directional_error,
    pretrained,
    randomised,
    twin_of,
)
from mmengine.registry import MODELS
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from glmix_mm.errors import UserError
from glmix_mm.models import NormPool

CLASSIFIER_NORMS = {'glnet': 'batch', 'dilateformer': 'layer', 'fcvit': 'group'}

families = pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
every_kind = pytest.mark.parametrize(('name', 'kind'), SMALL, ids=lambda value: value)
every_variant = pytest.mark.parametrize(('name', 'variant'), OFFICIAL, ids=lambda value: value)


@every_variant
def test_official_numbers(name, variant, tmp_path):
    model = pretrained(name, variant, tmp_path, torch.float64)
    first = golden.expected(f'{name}_{variant}')[:1]
    check_official_numbers(model, name, variant, torch.float64, 1e-9, first)


@pytest.mark.slow
@every_variant
def test_official_numbers_at_every_size(name, variant, tmp_path):
    model = pretrained(name, variant, tmp_path, torch.float64)
    first, *others = golden.expected(f'{name}_{variant}')
    check_official_numbers(model, name, variant, torch.float64, 1e-9, others)
    check_official_numbers(model.float(), name, variant, torch.float32, 1e-4, [first, *others])


def check_official_numbers(model, name, variant, dtype, tolerance, cases):
    for case in cases:
        x = golden.image(*case['input']).to(dtype)
        with torch.no_grad(), mock.patch.object(model, 'forward_stages') as computed:
            computed.return_value = stages = type(model).forward_stages(model, x)
            pyramid = model(x)  # of these, as the large ones take long
            computed.assert_called_once()
            logits = official_head(name, variant, stages[-1])
        for found, expected in zip(
            [*stages, *pyramid], case['stages'] + case['pyramid'], strict=True
        ):
            golden.assert_close(found, expected, tolerance)
        golden.assert_close(logits, case['logits'], tolerance)


def official_head(name, variant, last):
    """Return the logits of the official classifier's last layers for the last stage's output."""
    keys = golden.official_keys(f'{name}_{variant}')
    state = {
        key: torch.as_tensor(golden.fill(key, shape)).to(last.dtype)
        for key, shape in keys.items()
        if key.startswith(('norm.', 'head.'))
    }
    neck = NormPool(last.shape[1], CLASSIFIER_NORMS[name]).to(last.dtype).eval()
    neck.load_state_dict({key: state[key] for key in state if key.startswith('norm.')})
    return F.linear(*neck([last]), state['head.weight'], state['head.bias'])


@every_kind
@pytest.mark.parametrize(
    'size', [(1, 32, 32), (2, 33, 47), (1, 64, 95), (1, 130, 33), (3, 79, 101)], ids=str
)
def test_odd_sizes_equal_the_literal_implementation(name, kind, size):
    model = randomised(build_small(name, kind)).eval()
    twin = twin_of(name, model)[0].eval()
    x = golden.image(*size)
    for ours, theirs in zip(model.forward_stages(x), twin(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@every_kind
@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('training', [False, True])
def test_gradients_equal_the_literal_implementation(name, kind, batch, training):
    model = randomised(build_small(name, kind)).train(training)
    twin, renamed = twin_of(name, model)
    twin.train(training)
    x = golden.image(batch, 64, 97)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    maps = model.forward_stages(x1)
    weights = [golden.image(*m.shape[::2], m.shape[3]).sum(1, keepdim=True) for m in maps]
    sum((m * w).sum() for m, w in zip(maps, weights, strict=True)).backward()
    sum((m * w).sum() for m, w in zip(twin(x2), weights, strict=True)).backward()
    torch.testing.assert_close(x1.grad, x2.grad, rtol=1e-7, atol=1e-7)
    ours = dict(model.named_parameters())
    for key, parameter in twin.named_parameters():
        found = ours[renamed[key]].grad.reshape(parameter.shape)
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            found, parameter.grad, rtol=1e-7, atol=1e-8 * max(scale, 1), msg=key
        )


@pytest.mark.slow
@every_variant
def test_gradients_of_every_variant_by_finite_differences(name, variant):
    model = randomised(FAMILIES[name].cls(variant)).train()
    for batch in (1, 2):
        assert directional_error(model, golden.image(batch, 64, 64), seed=batch) < 1e-5


@every_kind
def test_every_parameter_gets_a_gradient(name, kind):
    model = build_small(name, kind)
    sum(m.square().sum() for m in model(torch.randn(2, 3, 64, 64))).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@families
def test_gradient_checkpointing_changes_nothing(name, kind):
    model = randomised(build_small(name, kind)).train()
    recomputing = randomised(build_small(name, kind, with_cp=True)).train()
    x = golden.image(2, 64, 64)
    for one, other in zip(model(x), recomputing(x), strict=True):
        assert torch.equal(one, other)
    for net in (model, recomputing):
        sum(m.square().sum() for m in net(x)).backward()
    for one, other in zip(model.parameters(), recomputing.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-10)


@families
def test_gradient_checkpointing_keeps_a_block_s_input_alone(name, kind):
    stage = build_small(name, kind).train().stages[2]
    x = stage.embed(torch.randn(1, stage.embed[0].in_channels, 16, 16)).detach().requires_grad_()
    stage.embed = torch.nn.Identity()
    kept = []
    pack = lambda t: kept.append(t) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        stage(x, recompute=True)
    kept = [t for t in kept if t.numel()]  # torch 2.9 notes an empty one as well
    assert [t.shape for t in kept] == [x.shape] * len(stage.blocks)


@every_variant
def test_drop_path_rises_linearly(name, variant):
    model = FAMILIES[name].cls(variant, drop_path_rate=0.3)
    rates = [getattr(block.drop_path, 'p', 0.0) for stage in model.stages for block in stage.blocks]
    last = len(rates) - 1
    assert rates == pytest.approx([0.3 * i / last for i in range(last + 1)])


@families
def test_output_norm_is_not_fed_to_the_next_stage(name, kind):
    model = randomised(build_small(name, kind)).eval()
    x = golden.image(1, 64, 64)
    before = model(x)[3]
    with torch.no_grad():
        model.norm0.weight.zero_()
    assert torch.equal(model(x)[3], before)
    assert torch.equal(model(x)[0], model.norm0.bias.view(1, -1, 1, 1).expand_as(model(x)[0]))


@families
def test_out_indices_leave_out_what_is_not_needed(name, kind):
    full = randomised(build_small(name, kind)).eval()
    model = build_small(name, kind, out_indices=(1, 2)).double().eval()
    model.load_state_dict({key: full.state_dict()[key] for key in model.state_dict()})
    assert len(model.stages) == 3 and not hasattr(model, 'norm0')
    assert model.out_channels == full.out_channels[1:3]
    x = golden.image(1, 64, 64)
    for found, expected in zip(model(x), full(x)[1:3], strict=True):
        assert torch.equal(found, expected)


@families
def test_eval_and_train_return_self_and_heed_norm_eval(name, kind):
    model = build_small(name, kind, norm_eval=True)
    assert model.train() is model and model.eval() is model
    norms = [m for m in model.train().modules() if isinstance(m, _BatchNorm)]
    assert norms and not any(m.training for m in norms)
    assert all(m.weight.requires_grad for m in norms)
    before = norms[0].running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert torch.equal(norms[0].running_mean, before)
    plain = build_small(name, kind).train()
    assert all(m.training for m in plain.modules() if isinstance(m, _BatchNorm))


@families
def test_evaluation_does_not_depend_on_the_rest_of_the_batch(name, kind):
    model = randomised(build_small(name, kind)).eval()
    x = golden.image(3, 64, 80)
    for together, alone in zip(model(x), model(x[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, rtol=1e-10, atol=1e-10)


@families
@pytest.mark.parametrize('frozen', [-1, 0, 1, 3, 4])
def test_frozen_stages(name, kind, frozen):
    model = build_small(name, kind, frozen_stages=frozen).train()
    keys = [key for key, _ in model.named_parameters()]
    found = {key for key, p in model.named_parameters() if not p.requires_grad}
    expected = {key for key in keys if key.startswith('stages.0.embed') and frozen >= 0}
    for i in range(max(frozen, 0)):
        expected |= {key for key in keys if key.startswith((f'stages.{i}.', f'norm{i}.'))}
    assert found == expected
    norm = next(m for m in model.stages[0].embed if isinstance(m, _BatchNorm))
    statistics = norm.running_mean.clone()
    out = model(torch.randn(2, 3, 64, 64))
    if frozen < 4:
        out[-1].sum().backward()
    assert torch.equal(norm.running_mean, statistics) == (frozen >= 0)


@families
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_close_and_finite(name, kind, dtype):
    torch.manual_seed(0)
    model = build_small(name, kind)
    x = torch.randn(2, 3, 96, 128)

    def run():
        maps = model(x)
        loss = sum(m.float().square().mean() for m in maps)
        return maps, torch.autograd.grad(loss, list(model.parameters()))

    maps, grads = run()
    with torch.autocast('cpu', dtype):
        half_maps, half_grads = run()
    for found, expected in zip(half_maps, maps, strict=True):
        assert (found.float() - expected).abs().mean() < 0.02 * expected.std()
    found, expected = (torch.cat([g.flatten() for g in each]) for each in (half_grads, grads))
    assert (found - expected).norm() < 0.03 * expected.norm()


@families
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_close(name, kind, dtype):
    torch.manual_seed(0)
    model = build_small(name, kind).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = model(x), model.to(dtype)(x.to(dtype))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert (a.float() - b).abs().mean() < 0.03 * b.std()


@families
def test_an_empty_batch_and_the_meta_device(name, kind):
    model = build_small(name, kind).eval()
    x = torch.randn(0, 3, 64, 64, requires_grad=True)
    maps = model(x)
    assert [len(m) for m in maps] == [0] * 4
    sum(m.sum() for m in maps).backward()
    assert x.grad.shape == x.shape
    maps = model.to('meta')(torch.empty(2, 3, 64, 96, device='meta'))
    assert [m.shape[2:] for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.slow
@families
def test_compiles_without_a_graph_break_at_any_size(name, kind):
    torch.manual_seed(0)
    model = build_small(name, kind).eval()
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True, dynamic=True)
    for size in ((64, 96), (80, 64), (97, 131)):
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            for found, expected in zip(compiled(x), model(x), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@families
def test_state_dict_round_trip(name, kind, tmp_path):
    source = randomised(build_small(name, kind)).float()
    path = tmp_path / 'own.pth'
    state = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    torch.save({'state_dict': state}, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    model = build_small(name, kind, init_cfg=init_cfg)
    model.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@families
def test_registered_where_the_libraries_look(name, kind):
    from mmdet.registry import MODELS as DET
    from mmpretrain.registry import MODELS as PRETRAIN
    from mmseg.registry import MODELS as SEG

    family = FAMILIES[name]
    for registry in (MODELS, DET, SEG, PRETRAIN):
        config = dict(type=family.cls.__name__, arch=family.small[kind])
        assert isinstance(registry.build(config), family.cls)


@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "arch='huge' is none of"),
        (dict(arch=dict(channels=(32,))), 'needs'),
        (dict(arch='first', out_indices=(0, 4)), 'out_indices=(0, 4)'),
        (dict(arch='first', out_indices=()), 'out_indices=()'),
        (dict(arch='first', out_indices=(2, 1)), 'out_indices=(2, 1)'),
        (dict(arch='first', frozen_stages=5), 'frozen_stages=5'),
        (dict(arch='odd'), "'depth'"),
        (dict(arch='short'), 'depths=(1, 1) of arch'),
        (dict(arch='zero'), 'depths=(0, 1, 1, 1) of arch'),
        (dict(arch='text'), "depths='1111' of arch"),
        (dict(arch=None), 'arch=None is none of'),
        (dict(arch='first', drop_path_rate=1.0), 'drop_path_rate=1.0 '),
    ],
)
def test_bad_options(name, options, message):
    family = FAMILIES[name]
    first = next(iter(family.small.values()))
    archs = {'first': first, 'odd': dict(first, depth=3)}
    for key, depths in (('short', (1, 1)), ('zero', (0, 1, 1, 1)), ('text', '1111')):
        archs[key] = dict(first, depths=depths)
    arch = options['arch']
    if isinstance(arch, str):
        options = dict(options, arch=archs.get(arch, arch))
    with pytest.raises(UserError) as info:
        family.cls(**options)
    assert message in str(info.value)


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        ('glnet', dict(channels=(30, 32, 64, 64)), '30 channels'),
        ('glnet', dict(mixers=('glmix', 'mla', 'mha', 'mha')), "'mla'"),
        ('glnet', dict(patch_embed='conv'), "patch_embed='conv'"),
        ('dilateformer', dict(mixers=('msda', 'mla', 'mhsa', 'mhsa')), "'mla'"),
        ('dilateformer', dict(heads=(5, 6, 4, 4)), '24 channels '),
        ('dilateformer', dict(heads=(4, 6, 4, 4)), '4 heads '),
        ('fcvit', dict(channels=(12, 32, 64, 64)), '12 channels '),
    ],
)
def test_bad_archs(name, changes, message):
    family = FAMILIES[name]
    arch = dict(next(iter(family.small.values())), **changes)
    with pytest.raises(UserError, match=family.cls.__name__) as info:
        family.cls(arch)
    assert message in str(info.value)


@families
def test_images_too_small(name, kind):
    with pytest.raises(UserError, match='31 x 64 px are too small'):
        build_small(name, kind)(torch.randn(1, 3, 31, 64))
