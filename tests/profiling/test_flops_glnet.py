"""GLNet's multiply-adds against two independent counts, and what the model itself must keep."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import glmix_mm  # noqa: F401
from glmix_mm.errors import UserError
from glmix_mm.models import GLNet
from glmix_mm.profiling import count
from glmix_mm.profiling.flops import EmptyOnMeta

SLOTS = 64
CHANNELS = {'4g': (64, 128, 256, 512), '9g': (96, 192, 384, 768)}
DEPTHS = (4, 4, 18, 4)


def ffn(c, n):
    """conv1x1 to 3C, depthwise 3 x 3, conv1x1 back, at n positions."""
    return n * (c * 3 * c + 9 * 3 * c + 3 * c * c)


def attention(c, n):
    """Query, key and value, both products, output projection, of n tokens."""
    return n * c * 3 * c + 2 * n * n * c + n * c * c


def glmix_block(c, n):
    position = 9 * c * n
    # Logits, clustering and dispatch; the logits are needed twice but computed once.
    slots = 3 * SLOTS * n * c + attention(c, SLOTS)
    local = n * c * c + 25 * c * n + n * c * c
    return position + slots + local + ffn(c, n)


def attention_block(c, n):
    return 9 * c * n + attention(c, n) + ffn(c, n)


def glnet_stages(channels, height, width):
    """Multiply-adds of each stage of GLNet-4G's layout; all its 3 x 3 convolutions pad by 1."""
    half = [math.ceil(height / 2), math.ceil(width / 2)]
    previous, stages = channels[0] // 2, []
    for stage, (c, depth) in enumerate(zip(channels, DEPTHS, strict=True)):
        stem = math.prod(half) * 9 * 3 * previous if stage == 0 else 0
        half = [math.ceil(half[0] / 2), math.ceil(half[1] / 2)]
        n = math.prod(half)
        embed = stem + n * 9 * previous * c
        attends = [stage == 3 or (stage == 2 and block % 2 == 1) for block in range(depth)]
        blocks = sum(attention_block(c, n) if attend else glmix_block(c, n) for attend in attends)
        stages.append(embed + blocks)
        previous = c
    return stages


@pytest.fixture(scope='module')
def models():
    return {arch: GLNet(arch) for arch in CHANNELS}


@pytest.mark.parametrize(
    ('arch', 'shape'),
    [
        ('4g', (32, 32)),
        ('4g', (224, 224)),
        ('4g', (225, 331)),
        ('4g', (800, 1280)),
        ('9g', (512, 2048)),
    ],
)
def test_equals_the_formula(models, arch, shape):
    expected = glnet_stages(CHANNELS[arch], *shape)
    total = count(models[arch], shape).model
    parts = {part.name: part for part in total.parts}
    assert [parts[f'stages.{i}'].multiply_adds for i in range(4)] == expected
    assert total.multiply_adds == sum(expected)
    assert parts['other'].multiply_adds == 0  # the output norms


@pytest.mark.skipif(
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu not in flop_registry,
    reason="this torch's own counter does not know attention on CPUs",
)
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('options', [dict(arch='4g', drop_path_rate=0.1), dict(arch='stl')])
def test_equals_torchs_counter_on_real_tensors(options, training):
    model = GLNet(**options).train(training)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(torch.randn(1, 3, 64, 96))
    assert 2 * count(model, (64, 96)).model.multiply_adds == flops.get_total_flops()
    assert model.training == training


def test_published_figure_of_4g(models):
    # 4.5 G with the products of attention, 4.3 G without.
    result = count(models['4g'], (224, 224)).model
    # Blocks with attention, their tokens and channels: 17 GLMix blocks among their slots, ...
    attentions = [(4, 64, 64), (4, 64, 128), (9, 64, 256), (9, 14 * 14, 256), (4, 7 * 7, 512)]
    products = sum(blocks * 2 * n * n * c for blocks, n, c in attentions)
    assert result.attention == products
    assert round(result.multiply_adds / 1e9, 1) == 4.5
    assert round((result.multiply_adds - products) / 1e9, 1) == 4.3


@pytest.mark.parametrize(
    ('arch', 'published'), [('stl', 4.4), ('stl_paramslot', 4.4), ('9g', 9.7), ('16g', 16.7)]
)
def test_published_figures_of_other_variants(arch, published):
    with EmptyOnMeta():
        model = GLNet(arch)
    total = count(model, (224, 224)).model.multiply_adds
    assert total / 1e9 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    'options', [dict(arch='nano'), dict(arch='stl'), dict(arch='4g', out_indices=(1, 3))]
)
def test_parameters(options):
    model = GLNet(**options)
    total = count(model, (64, 64)).model
    assert total.parameters == sum(p.numel() for p in model.parameters())
    assert total.parameters == sum(part.parameters for part in total.parts)
    assert total.parts[2].parameters == sum(p.numel() for p in model.stages[2].parameters())


def test_mode_checkpointing_and_device_do_not_matter():
    expected = count(GLNet('nano').eval(), (64, 96))
    assert count(GLNet('nano').train(), (64, 96)) == expected
    assert count(GLNet('nano', with_cp=True).train(), (64, 96)) == expected
    assert count(GLNet('nano').to('meta'), (64, 96)) == expected
    assert count(GLNet('nano').double(), (64, 96)) == expected


def test_nothing_is_allocated_and_the_model_is_left_alone(models):
    seen = []

    def look(module, args, output):
        seen.extend([*module.parameters(), *module.buffers(), *args, *output])

    model = models['4g'].train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    handle = model.register_forward_hook(look)
    total = count(model, (3000, 4000)).model
    handle.remove()
    assert total.multiply_adds == sum(glnet_stages(CHANNELS['4g'], 3000, 4000))
    assert len(seen) > 300 and all(isinstance(x, FakeTensor) for x in seen)
    assert tuple(seen[-1].shape) == (1, 512, 94, 125)
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def ablated_block(c, n, branches='both', clustering='soft', slots=SLOTS, kernel=5, attends=True):
    """Multiply-adds of a GLMix block at n positions whose switches differ."""
    # Logits and dispatch, and between them the slots' means, but for static slots; k-means computes
    # three times similarities and means before it dispatches.
    products = {'soft': 3, 'static': 2, 'kmeans': 2 * 3 + 1}[clustering]
    among_slots = attention(c, slots) if attends else 0
    mixed = products * slots * n * c + among_slots if branches != 'local' else 0
    local = n * c * c + kernel**2 * c * n + n * c * c if branches != 'global' else 0
    return 9 * c * n + mixed + local + ffn(c, n)


@pytest.mark.parametrize(
    ('switches', 'grid', 'block'),
    [
        (dict(), (8, 8), dict()),
        (dict(branches='local'), (8, 8), dict(branches='local')),
        (dict(branches='global'), (8, 8), dict(branches='global')),
        (dict(clustering='kmeans'), (8, 8), dict(clustering='kmeans')),
        (dict(clustering='static', slot_init='param'), (8, 8), dict(clustering='static')),
        (dict(local_kernel_size=3), (8, 8), dict(kernel=3)),
        (dict(local_kernel_size=7), (8, 8), dict(kernel=7)),
        (dict(slot_attention=False), (8, 8), dict(attends=False)),
        (dict(), (4, 4), dict(slots=16)),
        (dict(), (7, 9), dict(slots=63)),
        (dict(), dict(slots=32), dict(slots=8 * 4)),
        (dict(), dict(cell=16), dict(slots=None)),
    ],
    ids=str,
)
def test_ablations(switches, grid, block):
    mixers = ('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw')
    arch = dict(channels=(32, 64, 96, 128), depths=(1, 1, 2, 1), ffn_ratio=3, mixers=mixers)
    arch |= dict(patch_embed='ovlp', cpe_ks=3, mlp_dw=True, **switches)
    # Channels and positions of the GLMix blocks, one a stage; cells of 16 pixels are 8 x 4 slots.
    blocks = [(32, 32 * 16), (64, 16 * 8), (96, 8 * 4)]
    if block.get('slots', 0) is None:
        block = dict(slots=8 * 4)
    total = count(GLNet(arch, slot_grid=grid), (128, 64)).model
    parts = {part.name: part.multiply_adds for part in total.parts}
    for index, (c, n) in enumerate(blocks):
        previous = (16, 32, 64)[index]
        embed = (64 * 32 * 27 * 16 + n * 9 * 16 * c) if index == 0 else n * 9 * previous * c
        other = attention_block(c, n) if index == 2 else 0
        assert parts[f'stages.{index}'] == embed + ablated_block(c, n, **block) + other


def test_values_dependent_forward_runs_on_the_cpu():
    class Picky(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x)[:, x.mean().item() > 0 :]

    result = count(Picky(), (8, 8))
    assert result.model.multiply_adds == 8 * 8 * 3 * 4
    assert result.notice.startswith('Picky ')
    assert count(Picky().to('meta'), (8, 8)) == result


def test_errors_name_what_was_found(models):
    with pytest.raises(UserError, match=r'GLNet: .*16 x 64 px'):
        count(models['4g'], (16, 64))
    with pytest.raises(UserError, match='0 x 64'):
        count(models['4g'], (0, 64))
    with pytest.raises(UserError, match=r'Linear .*8 x 9: RuntimeError'):
        count(torch.nn.Linear(8, 3), (8, 9))
    with pytest.raises(UserError, match=r'Bilinear .*8 x 9: TypeError'):
        count(torch.nn.Bilinear(8, 3, 2), (8, 9))
