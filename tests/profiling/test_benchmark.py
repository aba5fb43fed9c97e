"""What the benchmark measures and reports, against models of known cost."""

import csv
import io
import time

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from glmix_mm.errors import UserError
from glmix_mm.models import FCViT, GLNet
from glmix_mm.profiling import measure, report
from glmix_mm.profiling.measure import Row, Setup, make_step, ready_models
from glmix_mm.profiling.model_list import load_model, load_models
from glmix_mm.profiling.plot import draw
from glmix_mm.profiling.timing import Timing

CPU = torch.device('cpu')
MACHINE = dict(machine='A, B', threads=2, torch='2.0')


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch):
    monkeypatch.setattr(measure, 'MATRIX_SIZE', 64)


class Known(nn.Module):
    """Sleeps 30 ms an image and holds three times the image's memory."""

    def forward(self, x):
        time.sleep(0.03 * len(x))
        return torch.cat([x, x, x])


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError('out of memory')


class Whole(BaseModel):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError


class Recorder(nn.Module):
    """Records how it was run."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.log = []

    def forward(self, x):
        self.log.append((self.training, torch.is_grad_enabled(), torch.is_autocast_enabled('cpu')))
        return [x * self.weight, {'more': 2 * x * self.weight}]

    def compile(self, **options):
        self.log.append(options)

    def fuse(self):
        self.log.append('fuse')
        return self


def row(model='m', shape=(100, 200), batch=1, seconds=(1.0, 2.0, 4.0), error='', **kwargs):
    values = dict(peak=3 * 2**20, multiply_adds=4_000_000_000, matrix_rate=8e9) | kwargs
    return Row(model, shape, batch, Timing(list(seconds), error), **values)


def test_time_memory_and_rate_of_a_known_model():
    models = {'known': Known(), 'failing': Failing(), 'other': nn.Identity()}
    adds = {'known': 10, 'failing': None, 'other': 0}
    rows = measure.measure(models, adds, (32, 48), 2, Setup(CPU, rounds=3))
    known, failing, other = rows
    assert [r.model for r in rows] == list(models)
    assert known.timing.median >= 0.06 and len(known.timing.seconds) == 3
    assert known.images_per_second == 2 / known.timing.median
    assert known.peak == 3 * (2 * 3 * 32 * 48 * 4)
    assert known.share == pytest.approx(10 * 2 / known.timing.median / known.matrix_rate)
    assert failing.timing.error == 'RuntimeError: out of memory'
    assert failing.peak is failing.share is failing.images_per_second is None
    assert other.peak == 0 and other.timing.median < 0.03


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_matrix_product_is_one_of_its_type(dtype):
    product = measure.matrix_product(Setup(CPU, dtype))()
    assert product.dtype == dtype and product.shape == (64, 64)


@pytest.mark.parametrize(
    ('mode', 'dtype', 'expected'),
    [
        ('eval', torch.float32, (False, False, False)),
        ('eval', torch.bfloat16, (False, False, True)),
        ('train', torch.float32, (True, True, False)),
        ('train', torch.float16, (True, True, True)),
    ],
)
def test_modes_and_types(mode, dtype, expected):
    model = Recorder()
    setup = Setup(CPU, dtype, mode)
    ready_models({'r': model}, setup)
    make_step(model, torch.ones(1, 3, 4, 4), setup)()
    assert model.log == [expected]


def test_training_step_is_the_backward_pass_of_the_sum_of_all_outputs():
    model, gradients = Recorder(), []
    model.weight.register_hook(gradients.append)
    make_step(model, torch.full((1, 3, 4, 4), 2.0), Setup(CPU, mode='train'))()
    # Of x and 2 x, 48 entries each.
    assert [float(g) for g in gradients] == [2.0 * 48 + 4.0 * 48]
    assert model.weight.grad is None


def test_training_counts_its_gradients_in_every_run():
    model = nn.Conv2d(3, 512, 1)
    setup = Setup(CPU, mode='train', rounds=1)
    (r,) = measure.measure({'conv': model}, {'conv': 5}, (4, 4), 1, setup)
    output, gradient = 512 * 16 * 4, (3 + 1) * 512 * 4
    assert r.peak >= output + gradient
    assert r.passes == 3
    assert r.share == pytest.approx(3 * 5 / r.timing.median / r.matrix_rate)


@pytest.mark.parametrize(
    ('execution', 'expected'), [('compile', {'dynamic': False}), ('fused', 'fuse')]
)
def test_execution(execution, expected):
    whole = Whole()
    whole.backbone = Recorder()
    for model, inner in ((Recorder(), None), (whole, whole.backbone)):
        ready_models({'r': model}, Setup(CPU, execution=execution))
        assert (inner or model).log == [expected]


def test_what_cannot_be_measured():
    setups = [
        (Known(), Setup(CPU, execution='fused'), r'x: Known has no fuse\(\)'),
        (Recorder(), Setup(CPU, mode='train', execution='fused'), 'x: fused '),
    ]
    for model, setup, message in setups:
        with pytest.raises(UserError, match=message):
            ready_models({'x': model}, setup)


@pytest.mark.parametrize(
    'name', ['retinanet_glnet_4g_1x', 'mmpretrain::resnet/resnet18_8xb32_in1k.py']
)
def test_whole_models(name):
    pytest.importorskip('mmdet')
    model = load_model(name)
    rows = []
    for mode in ('eval', 'train'):
        setup = Setup(CPU, mode=mode, rounds=1)
        rows += measure.measure(ready_models({'r': model}, setup), {'r': 1}, (64, 96), 2, setup)
    assert [row.timing.error for row in rows] == ['', '']
    assert all(row.peak > 0 for row in rows)
    assert rows[0].share and rows[1].share is None


@pytest.mark.parametrize('name', ['maskrcnn_glnet_4g_1x', 'semfpn_glnet_4g_80k'])
def test_a_training_step_of_a_whole_model_reaches_every_weight(name):
    pytest.importorskip('mmdet')
    model, reached = load_model(name), set()
    for key, weight in model.named_parameters():
        weight.register_hook(lambda grad, key=key: reached.add(key))
    setup = Setup(CPU, mode='train')
    make_step(ready_models({'r': model}, setup)['r'], torch.randn(1, 3, 64, 96), setup)()
    assert reached == {key for key, _ in model.named_parameters()}


@pytest.mark.parametrize(
    ('name', 'parameters', 'channels'),
    [
        # The classifiers' published sizes, less their last layer; Swin and ConvNeXt have one norm
        # at their end instead of four.
        ('swin_t', 28_288_354 - 769_000 + 2 * (96 + 192 + 384), (96, 192, 384, 768)),
        ('convnext_t', 28_589_128 - 769_000 + 2 * (96 + 192 + 384), (96, 192, 384, 768)),
        ('pvtv2_b2', 25_362_856 - 513_000, (64, 128, 320, 512)),
        ('resnet50', 25_557_032 - 2_049_000, (256, 512, 1024, 2048)),
    ],
)
def test_short_names(name, parameters, channels):
    for package in ('mmdet', 'mmpretrain'):
        pytest.importorskip(package)
    model = load_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    model.train(False)
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 64, 96))
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    expected = [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]
    assert [tuple(each.shape) for each in maps] == expected


def test_names():
    pytest.importorskip('mmdet')
    assert isinstance(load_model('glnet_stl_paramslot'), GLNet)
    assert isinstance(load_model('fcvit_tiny'), FCViT)
    assert load_model("GLNet(arch='nano', out_indices=(1, 2))").out_channels == (64, 128)
    assert load_model('mmdet.ResNet(depth=18)').depth == 18
    backbone = load_model('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py:backbone')
    assert type(backbone).__name__ == 'ResNet' and backbone.depth == 18
    assert load_model('retinanet_glnet_4g_1x:backbone').arch == '4g'


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['swin_t', 'swin_t'], 'swin_t: named more than once'),
        (['swim_t'], 'swim_t; .*swin_t, '),
        (['glnet_5g'], "arch='5g' is none of"),
        (['nowhere/at_all.py'], 'no such config: nowhere/at_all.py'),
        (['mmdet::no/such.py'], 'config mmdet::no/such.py: FileNotFoundError'),
        (['glmix_mm::no_such'], 'no such config'),
        (['GLNet("nano")'], r'GLNet\("nano"\): '),
        (['GLNet(arch=nano)'], r'GLNet\(arch=nano\): '),
        (['GLNett(depth=1)'], "'GLNett' .*mean GLNet"),
        (['GLNet(deep=1)'], 'deep'),
    ],
)
def test_names_that_stand_for_nothing(names, message):
    pytest.importorskip('mmdet')
    with pytest.raises(UserError, match=message):
        load_models(names)


def test_config_without_a_backbone(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text("model = dict(type='GLNet', arch='nano')\n")
    assert isinstance(load_model(str(path)), GLNet)
    with pytest.raises(UserError, match=r'`model.backbone`, only model'):
        load_model(f'{path}:backbone')


def test_table():
    lines = report.format_rows([row(), row('longer', seconds=(), error='x', peak=None)]).split('\n')
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split('   ') if cell.strip()] for line in lines]
    assert cells[0] == list(report.COLUMNS)
    assert cells[1] == ['m', '100 x 200', '1', '0.500', '2000', '1000', '4000', '3', '4.0 G', '25%']
    assert cells[2] == ['longer', '100 x 200', '1', 'failed', *6 * '-']


def test_csv():
    setup = Setup(CPU, torch.bfloat16, 'train', 'compile', 3)
    rows = [row(batch=4, passes=3), row('b', seconds=(), error='a, "b"', peak=None)]
    first, second = csv.DictReader(io.StringIO(report.to_csv(rows, setup, MACHINE)))
    assert first == dict(
        model='m', height='100', width='200', batch_size='4', images_per_second='2',
        ms='2000', ms_least='1000', ms_most='4000', peak_mib='3', multiply_adds='4000000000',
        matrix_rate='8000000000', share_of_matrix_rate='3', error='', mode='train',
        execution='compile', dtype='bfloat16', rounds='3', machine='A, B', threads='2', torch='2.0',
    )  # fmt: skip
    assert (second['error'], second['ms'], second['peak_mib']) == ('a, "b"', '', '')
    assert second['model'] == 'b'


def test_growth_table():
    rows = [
        row('a', (side, side), seconds=[1e-6 * side**2], peak=side**2, multiply_adds=side**4)
        for side in (1000, 2000, 4000)
    ]
    rows += [row('b', (side, side), error='x' * (side > 2000)) for side in (1000, 4000)]
    lines = report.format_growth(rows).split('\n')
    cells = [line.split() for line in lines[1:4]]
    assert [c[:5] for c in cells] == [
        ['a', '1', 'time', '1.00', '1.00'],
        ['a', '1', 'memory', '1.00', '1.00'],
        ['a', '1', 'multiply-adds', '2.00', '2.00'],
    ]
    assert lines[4] == ''  # b is left with one size
    assert report.format_growth(rows[:1]) == ''


@pytest.mark.parametrize('shapes', [[(100, 200)], [(100, 200), (200, 400)]])
def test_picture(shapes):
    """Every measurement that worked is drawn, in a colour of its own for each model."""
    rows = [row(name, shape, seconds=[1.0]) for shape in shapes for name in 'ab']
    rows.append(row('c', shapes[0], error='x', peak=None))
    picture = draw(rows, 'title')
    assert picture.startswith(b'\x89PNG')
    from matplotlib.image import imread

    pixels = (imread(io.BytesIO(picture))[..., :3] * 255).round().astype(int)
    found = {bytes(pixel).hex() for pixel in pixels.reshape(-1, 3).tolist()}
    assert {'0072b2', 'd55e00'} <= found and '009e73' not in found
