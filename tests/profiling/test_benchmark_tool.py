"""The command line."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glmix_mm.cli import run
from glmix_mm.profiling import benchmark, measure, model_list

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'benchmark.py'
NANO = 35_974_144  # multiply-adds at 64 x 96
QUICK = ('--device', 'cpu', '--rounds', '2')


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs the tool in this process, with small matrices; returns status, stdout and stderr."""
    monkeypatch.setattr(measure, 'MATRIX_SIZE', 64)
    return lambda *args: (run(benchmark.main, [*args, *QUICK]), *capsys.readouterr())


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_as_a_program(tmp_path):
    files = [f'--{kind}={tmp_path / kind / "f"}' for kind in ('csv', 'png', 'out')]
    arguments = [
        'glnet_nano',
        'GLNet(arch={"base":"nano","branches":"local"})',
        '--threads',
        '1',
        *QUICK,
    ]
    command = [sys.executable, str(TOOL), *arguments, '--shape', '64', '96', *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['csv', 'out', 'png']
    assert (tmp_path / 'out/f').read_text() == done.stdout
    assert (tmp_path / 'png/f').read_bytes().startswith(b'\x89PNG')
    head, _, *table = done.stdout.splitlines()
    end = f'1 thread, torch {torch.__version__}; float32, eval, eager, 2 rounds'
    assert head.endswith(end)
    cells = [re.split(r'\s{2,}', line) for line in table[:3]]
    assert [line[:3] for line in cells[1:]] == [
        ['glnet_nano', '64 x 96', '1'],
        ['GLNet(arch={"base":"nano","branches":"local"})', '64 x 96', '1'],
    ]
    whole, local = read(tmp_path / 'csv/f')
    assert int(whole['multiply_adds']) == NANO > int(local['multiply_adds'])
    assert (whole['height'], whole['width'], whole['threads']) == ('64', '96', '1')
    for row in (whole, local):
        ms, least, most = (float(row[key]) for key in ('ms', 'ms_least', 'ms_most'))
        assert 0 < least <= ms <= most
        assert float(row['images_per_second']) == pytest.approx(1000 / ms, rel=1e-4)
        achieved = int(row['multiply_adds']) * 1000 / ms / int(row['matrix_rate'])
        assert float(row['share_of_matrix_rate']) == pytest.approx(achieved, rel=1e-3)


def test_shapes_batches_and_training(call, tmp_path):
    path = tmp_path / 'r.csv'
    shapes = ['--shape', '64', '96', '--shape', '64', '64']
    others = ['--batch-size', '1', '2', '--mode', 'train', '--dtype', 'bfloat16']
    status, out, _ = call('glnet_nano', *shapes, *others, '--csv', str(path))
    assert status == 0
    rows = read(path)
    keys = [(row['height'], row['width'], row['batch_size']) for row in rows]
    assert keys == [('64', '96', '1'), ('64', '96', '2'), ('64', '64', '1'), ('64', '64', '2')]
    assert {(row['mode'], row['dtype']) for row in rows} == {('train', 'bfloat16')}
    # Two images hold nearly twice as much as one, gradients of the weights apart.
    weights = sum(p.numel() for p in model_list.load_model('glnet_nano').parameters()) * 4 / 2**20
    one, two = (float(row['peak_mib']) for row in rows[:2])
    assert weights < one < two < 2 * one
    assert '3 times the multiply-adds' in out
    assert re.search(r'glnet_nano +2 +multiply-adds', out)


def test_a_failure_loses_no_other_row(call, tmp_path):
    path = tmp_path / 'r.csv'
    pytest.importorskip('mmdet')
    shapes = ['--shape', '16', '16', '--shape', '64', '96']
    status, out, err = call(
        'glnet_nano', 'mmdet.ResNet(depth=18)', *shapes, '--csv', str(path), '--png', f'{path}.png'
    )
    assert status == 1
    assert err.splitlines()[-1] == 'error: 1 of 4 measurements failed: glnet_nano'
    small, *others = read(path)
    assert '16 x 16 px' in small['error'] and small['ms'] == ''
    assert all(float(row['ms']) > 0 and not row['error'] for row in others)
    assert 'Failed: glnet_nano, 16 x 16, batch 1: ' in out
    assert Path(f'{path}.png').is_file()


def test_csv_after_each_shape(call, tmp_path, monkeypatch):
    """What interrupts the run leaves the shapes that were done."""
    path = tmp_path / 'r.csv'
    real = benchmark.measure

    def interrupted(models, multiply_adds, shape, *others):
        if shape == (96, 96):
            raise KeyboardInterrupt
        return real(models, multiply_adds, shape, *others)

    monkeypatch.setattr(benchmark, 'measure', interrupted)
    shapes = [word for side in ('64', '96') for word in ('--shape', side, side)]
    status, out, _ = call('glnet_nano', *shapes, '--csv', str(path))
    assert (status, out) == (130, '')
    assert [row['height'] for row in read(path)] == ['64']
    assert [each.name for each in tmp_path.iterdir()] == ['r.csv']


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['swim_t'], 'no such model: swim_t'),
        (['glnet_nano', '--rounds', '0'], '--rounds 0: '),
        (['glnet_nano', '--batch-size', '2', '0'], '--batch-size 2 0: '),
        (['glnet_nano', '--shape', '-1', '8'], '--shape -1 8: '),
        (['glnet_nano', '--device', 'tpu'], '--device tpu: '),
        (['glnet_nano', '--device', 'cuda:99'], '--device cuda:99: torch finds'),
        (['glnet_nano', '--csv', str(ROOT)], 'cannot be written'),
        (['glnet_nano', '--png', str(TOOL / 'x.png')], 'cannot be written'),
        (['glnet_nano', '--mode', 'train', '--execution', 'fused'], 'glnet_nano: fused backbones'),
        (['mmdet.ResNet(depth=18)', '--execution', 'fused'], r'ResNet has no fuse\(\)'),
    ],
)
def test_mistakes_end_in_one_line(capsys, args, message):
    pytest.importorskip('mmdet')
    args = args if '--device' in args else [*args, '--device', 'cpu']
    assert run(benchmark.main, args) == 1
    out, err = capsys.readouterr()
    assert out == '' and 'Traceback' not in err
    last = err.splitlines()[-1]
    assert last.startswith('error: ') and re.search(message, last)
