"""The command line."""

import json
import re
from pathlib import Path

import pytest

from glmix_mm.cli import run
from glmix_mm.profiling import build, get_flops

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(capsys):
    """Runs the tool in this process and returns its status, stdout and stderr."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    return lambda *args: (run(get_flops.main, args), *capsys.readouterr())


def test_table_as_printed(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = call(str(ROOT / 'configs/maskrcnn_glnet_4g_3x.py'))
    assert status == 0 and not any(tmp_path.iterdir())
    lines = out.splitlines()
    table = lines[: lines.index('')]
    assert re.fullmatch(r' +parameters   800 x 1280', table[0])
    rows = {}
    for line in table[1:]:
        row = re.fullmatch(r' *([\w.]+)(?: \(\w+\))? +([\d.]+ M) +([\d.]+ G)', line)
        rows[row[1]] = row.group(2, 3)
    assert len({len(line) for line in table}) == 1
    # The figures of GLNet are those of the formula in tests/profiling/test_flops_glnet.py.
    assert rows['backbone'] == ('26.5 M', '161.6 G')
    assert rows['stages.2'] == ('13.6 M', '120.2 G')
    assert rows['total'] == ('46.6 M', '331.7 G')
    assert list(rows)[-4:] == ['rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head', 'total']
    assert lines[-1] == 'With 1000 proposals and 100 masks.'


def test_segmentation_has_two_shapes(call):
    status, out, _ = call('configs/upernet_glnet_4g_160k.py', '--json')
    assert status == 0
    result = json.loads(out)
    assert result['config'] == 'configs/upernet_glnet_4g_160k.py'
    assert result['shapes'] == [[800, 1280], [512, 2048]]
    parts = {part['name']: part for part in result['parts']}
    assert list(parts) == ['backbone', 'decode_head', 'auxiliary_head']
    assert parts['auxiliary_head']['multiply_adds'] == [None, None]
    assert parts['backbone']['multiply_adds'][0] == 161_646_092_288
    both = (parts['backbone'], parts['decode_head'])
    assert result['multiply_adds'][1] == sum(part['multiply_adds'][1] for part in both)


def test_shapes_and_options(call):
    shapes = ['--shape', '224', '224', '--shape', '64', '96']
    options = ['--cfg-options', 'model.backbone.frozen_stages=1', 'model.neck.out_channels=128']
    options += ['model.bbox_head.in_channels=128', 'model.neck.num_outs=4']
    status, out, _ = call('retinanet_glnet_4g_1x', '--json', *shapes, *options)
    assert status == 0
    result = json.loads(out)
    assert result['shapes'] == [[224, 224], [64, 96]]
    backbone, neck = result['parts'][:2]
    assert round(backbone['multiply_adds'][0] / 1e9, 1) == 4.5
    # 1 x 1 and 3 x 3 convolutions of the pyramid, and the 3 x 3 of stride 2 for its last level.
    sizes = [(128, 8 * 12), (256, 4 * 6), (512, 2 * 3)]
    levels = sum(n * (c * 128 + 9 * 128 * 128) for c, n in sizes)
    assert neck['multiply_adds'][1] == levels + 1 * 2 * 9 * 512 * 128


def test_json_is_alone_on_stdout(call, monkeypatch):
    def chatty_build(config):  # as mmpretrain is, when it builds some classifiers
        print('some news')
        return build(config)

    monkeypatch.setattr(get_flops, 'build', chatty_build)
    status, out, err = call('maskrcnn_glnet_stl_1x', '--json', '--shape', '64', '64')
    assert status == 0 and json.loads(out)['type'] == 'MaskRCNN'
    assert 'some news' in err


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['maskrcnn_glnet_4g_3'], '.*maskrcnn_glnet_4g_3; .*maskrcnn_glnet_4g_3x'),
        (
            ['maskrcnn_glnet_4g_3x', '--cfg-options', 'model.backbone.arch=5g'],
            ".*arch='5g' is none of",
        ),
        (
            ['maskrcnn_glnet_4g_3x', '--shape', '16', '64'],
            'GLNet: .*16 x 64 px',
        ),
        (['maskrcnn_glnet_4g_3x', '--shape', '-1', '64'], '.*-1 x 64'),
    ],
)
def test_mistakes_end_in_one_line(call, args, message):
    status, out, err = call(*args)
    assert (status, out) == (1, '')
    assert re.match(f'error: {message}', err.splitlines()[-1])
    assert 'Traceback' not in err
