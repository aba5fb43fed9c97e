"""What is checked of a checkpoint before it is used, and which one training resumes."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from runs import resumable, save
from torch import nn

from glmix_mm.checkpoints import fit, record
from glmix_mm.checkpoints.compare_states import KINDS, compare_states
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.models import build
from glmix_mm.training.checkpoint_hook import find_latest, read_resumable, saved_checkpoints

MODEL = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
EXPECTED = MODEL.state_dict()
CFG = Config(dict(model=dict(type='MaskRCNN', backbone=dict(type='GLNet', arch='4g'))))
object.__setattr__(CFG, '_filename', 'mine.py')


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('wrap', [lambda state: dict(state_dict=state, meta={}), dict])
def test_the_exact_weights_fit(wrap, prefix):
    state = {prefix + key: value for key, value in EXPECTED.items()}
    fit.check_fit(EXPECTED, wrap(state), 'a.pth', CFG)


@pytest.mark.parametrize(
    ('value', 'kind'),
    [
        (torch.tensor([1, float('nan'), 1, 1]), 'infinite'),
        (torch.tensor([1, 1, 1, -float('inf')]), 'infinite'),
        (torch.full((4,), 1e300, dtype=torch.float64), 'infinite'),  # in float32
        (torch.ones(4, dtype=torch.long), 'mistyped'),
        (torch.ones(4).to_sparse(), 'mistyped'),
        (torch.zeros(1).expand(10**13), 'misshapen'),
    ],
)
def test_what_a_weight_may_not_be(value, kind):
    difference = compare_states(EXPECTED, {**EXPECTED, '1.weight': value})
    assert [name for name in KINDS if getattr(difference, name)] == [kind]
    assert getattr(difference, kind)[0].startswith('1.weight')


def test_batch_counters_may_be_missing():
    state = {key: value for key, value in EXPECTED.items() if 'num_batches' not in key}
    fit.check_fit(EXPECTED, dict(state_dict=state), 'a.pth', CFG)


def test_a_second_name_of_a_part_is_no_misfit():
    again = {f'again.{key}': value.clone() for key, value in EXPECTED.items()}
    fit.check_fit(EXPECTED, dict(state_dict=EXPECTED | again), 'a.pth', CFG)
    again['again.0.weight'] += 1
    with pytest.raises(UserError, match=r'1 unexpected \(again\.0\.weight\)'):
        fit.check_fit(EXPECTED, dict(state_dict=EXPECTED | again), 'a.pth', CFG)


def test_a_misfit_is_described():
    state = dict(EXPECTED)
    del state['0.bias']
    state['1.weight'] = torch.zeros(5)
    state['2.extra'] = torch.zeros(1)
    text = "a = 1\nmodel = dict(type='RetinaNet', backbone=dict(type='GLNet', arch='nano', k=f(1)))"
    checkpoint = dict(state_dict=state, meta=dict(cfg=text, epoch=3, iter=70))
    with pytest.raises(UserError) as caught:
        fit.check_fit(EXPECTED, checkpoint, 'a.pth', CFG)
    facts = (
        'a.pth',
        'mine.py',
        'MaskRCNN with GLNet 4g',
        '1 missing (0.bias)',
        '1 unexpected (2.extra)',
    )
    facts += ('1 misshapen (1.weight (5,) instead of (4,))', 'RetinaNet with GLNet nano')
    facts += ('epoch 3', 'iteration 70')
    assert not [fact for fact in facts if fact not in str(caught.value)]


@pytest.mark.parametrize(
    'meta', [None, {}, dict(cfg='not python ('), dict(cfg='model = 3'), dict(cfg='b = 1')]
)
def test_a_checkpoint_may_say_nothing_of_its_origin(meta):
    assert record.describe_origin(dict(meta=meta)) == ''


def test_the_origin_is_read_not_run(tmp_path):
    text = f"model = dict(type=open({str(tmp_path / 'made')!r}, 'w'))"
    record.describe_origin(dict(meta=dict(cfg=text)))
    assert not (tmp_path / 'made').exists()


def test_a_real_config_tells_its_origin():
    text = load_config('upernet_glnet_9g_160k').pretty_text
    assert record.describe_origin(dict(meta=dict(cfg=text))) == 'EncoderDecoder with GLNet 9g'


@pytest.mark.parametrize('content', [dict(model=EXPECTED), dict(state_dict={}), dict(epoch=3)])
def test_a_file_without_weights(content):
    with pytest.raises(UserError, match=r'a\.pth: .*(model|state_dict|epoch)'):
        fit.weights_of(content, 'a.pth')


def test_a_file_that_holds_no_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='found Tensor'):
        fit.read(str(tmp_path / 'a.pth'))


def test_load_from_reports_what_it_takes():
    state = {**EXPECTED, '0.weight': torch.zeros(1), '9.x': torch.zeros(1)}
    note = fit.check_overlap(EXPECTED, state, 'a.pth', CFG)
    facts = (
        'a.pth',
        '6 of the 7',
        '1 unexpected (9.x)',
        '1 misshapen (0.weight (1,) instead of (4, 3, 1, 1))',
    )
    assert not [fact for fact in facts if fact not in note]


def test_load_from_that_takes_nothing_is_an_error():
    with pytest.raises(UserError, match=r'load_from=a\.pth: .*mine\.py'):
        fit.check_overlap(EXPECTED, {'x': torch.zeros(1)}, 'a.pth', CFG)


@pytest.mark.parametrize(
    ('trained', 'error'),
    [
        (('disc', 'ring'), None),
        (['disc', 'ring'], None),
        (None, None),
        (('ring', 'disc'), r'2 classes \(ring, disc\), but .* has 2 classes \(disc, ring\)'),
        (tuple('abcdefg'), r'7 classes \(a, b, c, d, e, \.\.\.\), but'),
    ],
)
def test_the_classes_are_compared(trained, error):
    dataset = dict(type='CocoDataset', metainfo=dict(classes=('disc', 'ring')))
    loader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))
    cfg = Config(dict(test_dataloader=loader, default_scope='mmdet'))
    checkpoint = dict(meta=dict(dataset_meta=dict(classes=trained)))
    if error is None:
        fit.check_classes(checkpoint, 'a.pth', cfg, 'test')
    else:
        with pytest.raises(UserError, match=error):
            fit.check_classes(checkpoint, 'a.pth', cfg, 'test')


COLOURS = [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize(
    ('meta', 'palette'),
    [
        (dict(CLASSES=('disc', 'ring'), PALETTE=COLOURS), COLOURS),
        (dict(CLASSES=['disc', 'ring'], PALETTE=np.array(COLOURS, np.uint8)), COLOURS),
        (dict(CLASSES=('disc', 'ring'), PALETTE=None), None),
        (dict(CLASSES=('disc', 'ring')), None),
        (dict(CLASSES=('disc', 'ring'), dataset_meta={}), None),
        (dict(dataset_meta=dict(CLASSES=('disc', 'ring'), PALETTE=COLOURS)), COLOURS),
        (dict(dataset_meta=dict(classes=('disc', 'ring')), CLASSES=('other',)), None),
    ],
)
def test_the_classes_of_older_checkpoints(meta, palette):
    found = record.trained_meta(dict(meta=meta))
    assert list(found['classes']) == ['disc', 'ring']
    assert found.get('palette') == palette


def test_what_an_older_checkpoint_is_of():
    text = "model = dict(type='EncoderDecoder', backbone=dict(type='GLNet', arch='9g'))"
    meta = dict(config=text, mmseg_version='0.30.0', iter=7)
    origin = record.describe_origin(dict(meta=meta))
    assert origin.startswith('EncoderDecoder with GLNet 9g') and '7' in origin


def test_weights_of_the_backbone_that_was_replaced():
    cfg = load_config('demo/semfpn_glnet_nano')
    cfg.model.pretrained = 'open-mmlab://resnet50_v1c'
    with pytest.raises(UserError, match=r'resnet50_v1c.* model\.pretrained=None'):
        build.build_model(cfg)
    cfg.model.pretrained = None
    assert build.build_model(cfg).backbone.init_cfg is None


def test_channels_that_do_not_match_the_backbone():
    options = {'model.backbone.arch': 'nano', 'model.backbone.init_cfg': None}
    with pytest.raises(UserError, match=r'model\.neck\.in_channels is \[64, 128, 256, 512\], but'):
        build.build_model(load_config('maskrcnn_glnet_4g_1x', options))
    with pytest.raises(
        UserError, match=r'model\.decode_head\.in_channels is \[64, 128, 256, 512\]'
    ):
        build.build_model(load_config('upernet_glnet_4g_160k', options))


def test_heads_that_take_some_of_the_outputs():
    options = {
        'model.backbone.init_cfg': None,
        'model.decode_head.in_index': [1, 2, 3],
        'model.decode_head.in_channels': [128, 256, 512],
    }
    state = build.build_model(load_config('upernet_glnet_4g_160k', options)).state_dict()
    assert state['decode_head.lateral_convs.0.conv.weight'].shape[1] == 128


def test_checkpoints_are_ordered_by_number(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'epoch_9.pth', 'best_ap_epoch_11.pth', 'x.pth'):
        (tmp_path / name).touch()
    names = [path.name for path in saved_checkpoints(tmp_path)]
    assert names == ['epoch_10.pth', 'epoch_9.pth', 'epoch_2.pth']


@pytest.mark.parametrize('note', ['{folder}/epoch_2.pth', '/moved/away/epoch_2.pth\n'])
def test_the_noted_checkpoint_comes_first(tmp_path, note):
    for name in ('epoch_2.pth', 'epoch_10.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text(note.format(folder=tmp_path))
    assert [p.name for p in saved_checkpoints(tmp_path)] == ['epoch_2.pth', 'epoch_10.pth']


def test_the_noted_checkpoint_may_lie_elsewhere(tmp_path):
    elsewhere = tmp_path / 'elsewhere' / 'epoch_3.pth'
    elsewhere.parent.mkdir()
    elsewhere.touch()
    (tmp_path / 'last_checkpoint').write_text(str(elsewhere))
    assert saved_checkpoints(tmp_path) == [elsewhere]


@pytest.mark.parametrize('note', ['', '/gone/epoch_7.pth'])
def test_a_useless_note_is_passed_over(tmp_path, note):
    # A full disk leaves the note empty: mmengine writes it in place.
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(note)
    assert [path.name for path in saved_checkpoints(tmp_path)] == ['epoch_1.pth']


def test_the_newest_readable_checkpoint_is_found(tmp_path):
    assert find_latest(tmp_path) is None
    old = save(tmp_path / 'iter_10.pth', **resumable(EXPECTED))
    newer = save(tmp_path / 'iter_20.pth', state_dict=EXPECTED)
    newest = save(tmp_path / 'iter_30.pth', **resumable(EXPECTED))
    with open(newest, 'r+b') as file:
        file.truncate(500)
    path, checkpoint, failures = find_latest(tmp_path)
    assert path == old
    assert checkpoint['meta']['iter'] == 10
    assert newest in failures[0]
    assert f'{newer}: cannot resume: it has no optimizer, message_hub, meta.epoch' in failures[1]


def test_no_readable_checkpoint_is_an_error(tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes(b'')
    with pytest.raises(UserError, match=r'none of the 1 '):
        find_latest(tmp_path)


def test_published_weights_cannot_be_resumed(tmp_path):
    path = save(tmp_path / 'published.pth', state_dict=EXPECTED, meta=dict(epoch=1, iter=2))
    with pytest.raises(UserError, match=f'optimizer, message_hub; .*load_from={path}'):
        read_resumable(path)
