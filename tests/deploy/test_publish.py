"""tools/publish.py: what it writes, what takes it, and what it refuses."""

import hashlib
import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from runs import read_log

from glmix_mm import __version__
from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.deploy.publish import main, publish
from glmix_mm.errors import UserError
from glmix_mm.training.train import main as train_main


@pytest.fixture(scope='module')
def published(classifier_run, tmp_path_factory):
    """Return the path of the published backbone of the trained classifier."""
    folder = tmp_path_factory.mktemp('published')
    arguments = [str(classifier_run / 'epoch_2.pth'), str(folder / 'nano.pth')]
    assert run(main, arguments) == 0
    (path,) = folder.iterdir()
    return path


def test_the_file_holds_the_averaged_backbone_and_its_record(published, classifier_run):
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert published.name == f'nano-{digest[:8]}.pth'
    content = torch.load(published, weights_only=True)  # torch's plain types alone
    meta = content['meta']
    assert (meta['type'], meta['arch'], meta['version']) == ('GLNet', 'nano', __version__)
    assert (meta['epoch'], meta['iter']) == (2, 4)
    assert "type='ImageClassifier'" in meta['config']
    averaged = read_checkpoint(classifier_run / 'epoch_2.pth')['state_dict']
    expected = {key: value for key, value in averaged.items() if key.startswith('backbone.')}
    assert {f'backbone.{key}' for key in content['state_dict']} == set(expected)
    for key, value in content['state_dict'].items():
        assert torch.equal(value, expected[f'backbone.{key}'])


def test_mask_rcnn_starts_from_it_with_all_tensors(
    published, nano_detector, demo_root, tmp_path, capsys
):
    weights = torch.load(published, weights_only=True)['state_dict']
    cfg = load_config(nano_detector, {'model.backbone.init_cfg.checkpoint': str(published)})
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    state = model.backbone.state_dict()
    norms = {key for key in state if re.match(r'norm\d\.', key)}
    assert set(state) - norms == set(weights)
    for key, value in weights.items():
        assert torch.equal(state[key], value), key

    arguments = [nano_detector, '--data-root', str(demo_root), '--work-dir', str(tmp_path)]
    options = [f'model.backbone.init_cfg.checkpoint={published}', 'train_cfg.max_epochs=1']
    assert run(train_main, [*arguments, '--cfg-options', *options]) == 0
    loaded = f'{published}: loaded {len(weights)} of {len(state)} tensors'
    assert f"{loaded} from 'state_dict'; 8 of " in capsys.readouterr().out
    assert [line['step'] for line in read_log(tmp_path)] == [1, 2]

    # The detector's own checkpoint holds output norms, which are published as well.
    path, count = publish(str(tmp_path / 'epoch_1.pth'), tmp_path / 'detector.pth')
    assert count == len(state)
    assert norms < set(torch.load(path, weights_only=True)['state_dict'])


def save(tmp_path, classifier_run, change):
    content = read_checkpoint(classifier_run / 'epoch_2.pth')
    change(content)
    torch.save(content, tmp_path / 'changed.pth')
    return str(tmp_path / 'changed.pth')


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda content: content.pop('meta'), 'backbone'),
        (
            lambda content: content['state_dict'].pop('backbone.stages.0.embed.0.weight'),
            r'1 missing \(stages\.0\.embed\.0\.weight\)',
        ),
        (
            lambda content: content['meta'].update(
                cfg=content['meta']['cfg'].replace("type='GLNet'", "type='ResNet'")
            ),
            'names ResNet ',
        ),
        (
            lambda content: content['meta'].update(
                cfg=content['meta']['cfg'].replace("type='GLNet'", 'type=[3]')
            ),
            r'\[3\]',
        ),
        (
            lambda content: content['meta'].update(
                cfg=content['meta']['cfg'].replace("arch='nano'", 'arch=dict(a=1)')
            ),
            'describes no GLNet',
        ),
        (
            lambda content: content['meta'].update(
                cfg=content['meta']['cfg'].replace(
                    "arch='nano'",
                    'arch=dict(channels=(131072, 131072, 131072, 131072), depths=(1, 1, 1, 1))',
                )
            ),
            'GLNet in its record|describes no GLNet',
        ),
    ],
)
def test_refuses_what_is_no_whole_backbone(change, expected, classifier_run, tmp_path):
    path = save(tmp_path, classifier_run, change)
    with pytest.raises(UserError, match=expected):
        publish(path, tmp_path / 'out.pth')
    assert not list(tmp_path.glob('out*'))


def test_refuses_names_and_folders_it_cannot_write(classifier_run, tmp_path):
    path = str(classifier_run / 'epoch_2.pth')
    with pytest.raises(UserError, match=r'out\.bin: .*\.pth'):
        publish(path, tmp_path / 'out.bin')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'cannot write .*file/out-'):
        publish(path, tmp_path / 'file' / 'out.pth')


def test_a_backbone_of_ones_own_sizes(tmp_path):
    arch = dict(
        channels=[32, 32, 64, 64],
        depths=[1, 1, 1, 1],
        ffn_ratio=2,
        mixers=('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw'),
        patch_embed='ovlp',
        cpe_ks=3,
        mlp_dw=True,
    )
    cfg = load_config('maskrcnn_glnet_4g_1x')
    cfg.model.backbone.update(arch=arch, frozen_stages=-1, init_cfg=None)
    state = MODELS.build(cfg.model.backbone).state_dict()
    content = dict(
        state_dict={f'module.backbone.{key}': value for key, value in state.items()},
        meta=dict(cfg=cfg.pretty_text),
    )
    torch.save(content, tmp_path / 'run.pth')
    path, count = publish(str(tmp_path / 'run.pth'), tmp_path / 'own.pth')
    assert count == len(state)
    assert torch.load(path, weights_only=True)['meta']['arch'] == dict(
        arch, mixers=list(arch['mixers'])
    )
