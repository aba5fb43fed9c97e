"""Loading of official and own checkpoints: what fits, what is left out, what is refused."""

from itertools import combinations

import golden
import pytest
import torch

from glmix_mm.errors import UserError
from glmix_mm.models import DilateFormer, FCViT, GLNet, backbone
from glmix_mm.models.pretrained import load_pretrained


@pytest.fixture(scope='module')
def official():
    return golden.official_state('glnet_4g')


def save(folder, content, name='weights.pth'):
    path = folder / name
    torch.save(content, path)
    return str(path)


def load(path, arch='4g', prefix=None, **options):
    model = GLNet(arch, init_cfg=dict(type='Pretrained', checkpoint=path), **options)
    report = load_pretrained(model, path, model.renames, prefix)
    return model, report


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: {'model': s},
        lambda s: {'model_ema': s, 'model': {'other': torch.zeros(1)}},
        lambda s: {'state_dict': s, 'meta': {'epoch': 3}},
        lambda s: s,
        lambda s: {'model': prefixed(s, 'module.')},
        lambda s: {'state_dict': {**prefixed(s, 'backbone.'), 'neck.weight': torch.zeros(2)}},
        lambda s: {'state_dict': prefixed(s, 'module.backbone.')},
        lambda s: {'model': {**s, 'tklb_aux_head.weight': torch.zeros(3, 512)}},
    ],
    ids=['model', 'ema', 'state_dict', 'bare', 'module', 'backbone', 'both', 'token-labeling'],
)
def test_layouts(wrap, official, tmp_path):
    model, report = load(save(tmp_path, wrap(official)))
    loaded = model.stages[2].blocks[1].mixer.qkv.weight
    assert torch.equal(loaded, official['stages.2.blocks.1.mha_op.in_proj_weight'].float())
    stem = official['downsample_layers.0.5.running_var'].float()
    assert torch.equal(model.stages[0].embed[4].running_var, stem)
    assert 'loaded 634 of 642 tensors' in report and 'left out' in report


def test_log_says_how_many(official, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(backbone, 'print_log', lambda line, logger: lines.append(line))
    GLNet(
        '4g', init_cfg=dict(type='Pretrained', checkpoint=save(tmp_path, official))
    ).init_weights()
    assert len(lines) == 1 and 'loaded 634 of 642 tensors' in lines[0]


def test_fewer_outputs_leave_out_what_they_do_not_use(tmp_path):
    source = GLNet('nano')
    model, report = load(save(tmp_path, source.state_dict()), 'nano', out_indices=(0, 2))
    assert torch.equal(model.norm2.weight, source.norm2.weight)
    unused = [k for k in source.state_dict() if k.startswith(('stages.3.', 'norm1.', 'norm3.'))]
    assert f'left out {len(unused)} ' in report


def test_prefix_of_init_cfg(official, tmp_path):
    path = save(tmp_path, prefixed(official, 'teacher.'))
    assert 'loaded 634' in load(path, prefix='teacher')[1]
    with pytest.raises(UserError, match="prefix 'student"):
        load(path, prefix='student')


def changed(state, **changes):
    state = {**state, **{key.replace('__', '.'): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            dict(stages__0__blocks__0__slot_scale=None),
            '1 missing (stages.0.blocks.0.mixer.slot_scale)',
        ),
        (dict(stages__0__blocks__9__slot_scale=torch.zeros(())), '1 unexpected (stages.0.blocks.9'),
        (dict(extra=torch.zeros(3)), '1 unexpected (extra)'),
        (dict(norm1__weight=torch.ones(128)), '7 missing (norm0.weight'),
        (
            dict(stages__0__blocks__0__norm1__weight=torch.zeros(65)),
            '1 misshapen (stages.0.blocks.0.norm1.weight (65,) instead of (64,))',
        ),
    ],
)
def test_anything_else_is_an_error_and_loads_nothing(content, message, official, tmp_path):
    path = save(tmp_path, {'model': changed(official, **content)})
    model = GLNet('4g', init_cfg=dict(type='Pretrained', checkpoint=path))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as info:
        model.init_weights()
    assert message in str(info.value) and 'weights.pth does not fit GLNet-4g' in str(info.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_another_variant_lists_what_differs(official, tmp_path):
    with pytest.raises(UserError, match=r'GLNet-9g: \d+ misshapen'):
        load(save(tmp_path, official), '9g')


def test_a_file_that_matches_nothing(tmp_path):
    with pytest.raises(UserError, match=r'GLNet-nano: .* missing .* unexpected'):
        load(save(tmp_path, {'state_dict': {'conv1.weight': torch.zeros(3)}}), 'nano')


@pytest.mark.parametrize('content', [{'epoch': 3}, [1, 2], {'model': {}}], ids=str)
def test_no_weights(content, tmp_path):
    with pytest.raises(UserError, match=r"weights\.pth: .*'model_ema'"):
        load(save(tmp_path, content), 'nano')


@pytest.mark.parametrize('init_cfg', [dict(type='Kaiming'), dict(type='Pretrained')], ids=str)
def test_other_init_cfg(init_cfg):
    with pytest.raises(UserError, match='init_cfg must be dict'):
        GLNet('nano', init_cfg=init_cfg).init_weights()


def test_output_norms_of_an_official_fcvit_detector(tmp_path):
    """Officially, stages and their norms are numbered 0, 2, 4, 6; here 0 to 3."""
    state = golden.official_state('fcvit_tiny')
    for number, dim in zip((0, 2, 4, 6), (32, 64, 160, 320), strict=True):
        for leaf in ('weight', 'bias'):
            key = f'norm{number}.{leaf}'
            state[key] = torch.as_tensor(golden.fill(key, (dim,)))
    state = {key: value for key, value in state.items() if not key.startswith(('norm.', 'head.'))}
    path = save(tmp_path, {'state_dict': {**prefixed(state, 'backbone.'), 'neck.w': torch.ones(1)}})
    model = FCViT('tiny', init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    for ours, theirs in ((0, 0), (1, 2), (2, 4), (3, 6)):
        norm = getattr(model, f'norm{ours}')
        assert torch.equal(norm.weight, state[f'norm{theirs}.weight'].float())
        assert torch.equal(norm.bias, state[f'norm{theirs}.bias'].float())
    # Three outputs: the norm of the first, and of it alone, is left out.
    fewer = FCViT('tiny', out_indices=(1, 2, 3))
    report = load_pretrained(fewer, path, fewer.renames)
    assert 'left out 2 ' in report
    assert torch.equal(fewer.norm2.weight, model.norm2.weight)


@pytest.mark.parametrize('count', [1, 2, 3, 4])
@pytest.mark.parametrize('cls', [DilateFormer, FCViT, GLNet])
def test_own_norms_go_where_they_belong(cls, count, tmp_path):
    arch = dict(channels=(32, 64, 64, 64), depths=(1, 1, 1, 1))
    if cls is GLNet:
        arch |= dict(ffn_ratio=2, mixers=('mha',) * 4, patch_embed='ovlp', cpe_ks=0, mlp_dw=False)
    elif cls is DilateFormer:
        arch |= dict(heads=(4, 4, 4, 4), mixers=('mhsa',) * 4)
    source = cls(arch)
    for i in range(4):
        torch.nn.init.constant_(getattr(source, f'norm{i}').weight, 10 + i)
    path = save(tmp_path, source.state_dict())
    for indices in combinations(range(4), count):
        model = cls(arch, out_indices=indices)
        load_pretrained(model, path, model.renames)
        norms = [getattr(model, f'norm{i}').weight[0].item() for i in indices]
        assert norms == [10 + i for i in indices]


@pytest.mark.parametrize(
    ('name', 'cls', 'missing', 'known_as'),
    [
        (
            'dilateformer_tiny',
            DilateFormer,
            'stages.0.downsample.proj.0.bias',
            'stages.1.embed.0.bias',
        ),
        (
            'fcvit_tiny',
            FCViT,
            'network.4.0.token_mixer.gc2.rescale_weight',
            'stages.2.blocks.0.mixer.1.context.rescale_weight',
        ),
    ],
)
def test_other_families_are_as_strict(name, cls, missing, known_as, tmp_path):
    state = golden.official_state(name)
    del state[missing]
    path = save(tmp_path, {'model': state})
    with pytest.raises(UserError) as info:
        cls('tiny', init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()
    assert f'does not fit {cls.__name__}-tiny: 1 missing ({known_as})' in str(info.value)


def test_a_checkpoint_of_another_family(official, tmp_path):
    path = save(tmp_path, {'model': official})
    with pytest.raises(UserError, match='FCViT-b12'):
        FCViT('b12', init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()
