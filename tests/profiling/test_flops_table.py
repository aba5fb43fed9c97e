import json

from glmix_mm.profiling import Count, Part
from glmix_mm.profiling.table import counts_as_dict, format_table, notes_on_counts


def model(shape, scale):
    stages = (
        Part('stages.0', 'Stage', 1_250_000, 51_250_000_000 * scale, (), 1_000_000_000),
        Part('other', '', 49_999, 0, (), 0),
    )
    parts = (
        Part('backbone', 'GLNet', 26_960_000, 163_810_000_000 * scale, stages, 80_000_000_000),
        Part('roi_head.bbox_head', 'Head', 150_000, 49_000_000 * scale, (), 0),
        Part('roi_head.mask_head', 'Mask', 0, 0, (), 0),
        Part('auxiliary_head', 'FCNHead', 1_000_000, None),
    )
    root = Part('total', 'Detector', 28_110_000, 163_859_000_000 * scale, parts, 80_000_000_000)
    return Count(shape, root, ('operator x::y',), 'Detector needs values to run (why)')


def test_table():
    counts = [model((800, 1280), 1), model((1600, 1280), 10)]
    assert format_table(counts).splitlines() == [
        '                            parameters   800 x 1280   1600 x 1280',
        'backbone (GLNet)                27.0 M      163.8 G      1638.1 G',
        '  stages.0                       1.2 M       51.2 G       512.5 G',
        '  other                          0.0 M        0.0 G         0.0 G',
        'roi_head.bbox_head (Head)        0.1 M        0.0 G         0.5 G',
        'roi_head.mask_head (Mask)        0.0 M        0.0 G         0.0 G',
        'auxiliary_head (FCNHead)         1.0 M            -             -',
        'total (Detector)                28.1 M      163.9 G      1638.6 G',
    ]
    assert notes_on_counts(counts) == [
        'Multiply-adds of matrix products and convolutions, one image at inference.',
        'With 1000 proposals and 100 masks.',
        '-: does not run at inference.',
        'Not counted: operator x::y.',
        'Run on the CPU: Detector needs values to run (why).',
    ]


def test_table_without_attention():
    lines = format_table([model((800, 1280), 1)], attention_apart=True).splitlines()
    rows = {line.split()[0]: line.split()[-4:] for line in lines}
    assert rows['parameters'][-2:] == ['no', 'attention']
    assert rows['backbone'] == ['163.8', 'G', '83.8', 'G']
    assert rows['stages.0'] == ['51.2', 'G', '50.2', 'G']
    assert rows['auxiliary_head'][-2:] == ['-', '-']
    assert rows['total'] == ['163.9', 'G', '83.9', 'G']


def test_json():
    result = json.loads(
        json.dumps(counts_as_dict([model((800, 1280), 1), model((1600, 1280), 10)]))
    )
    assert list(result) == [
        'shapes',
        'name',
        'type',
        'parameters',
        'multiply_adds',
        'attention',
        'parts',
        'not_counted',
        'notices',
    ]
    assert result['shapes'] == [[800, 1280], [1600, 1280]]
    assert result['multiply_adds'] == [163_859_000_000, 1_638_590_000_000]
    assert result['parts'][0]['parts'][0] == {
        'name': 'stages.0',
        'type': 'Stage',
        'parameters': 1_250_000,
        'multiply_adds': [51_250_000_000, 512_500_000_000],
        'attention': [1_000_000_000, 1_000_000_000],
        'parts': [],
    }
    assert result['parts'][3]['multiply_adds'] == result['parts'][3]['attention'] == [None, None]
    assert result['not_counted'] == ['operator x::y']
    assert result['notices'] == ['Detector needs values to run (why)']
