"""Segmentors of other kinds than the shipped configs, from training to prediction."""

import re
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from PIL import Image

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.inference.predict import main as predict
from glmix_mm.inference.test import main as score
from glmix_mm.models.glnet import ARCHS
from glmix_mm.training.train import main as train


@pytest.fixture
def relabelled(demo_root, tmp_path):
    """Return a function that copies the demo set with its label maps, from 0, changed."""

    def copy(change):
        root = shutil.copytree(demo_root / 'ade/ADEChallengeData2016', tmp_path / 'data')
        for path in root.glob('annotations/*/*.png'):
            Image.fromarray(change(np.asarray(Image.open(path)) - 1).astype(np.uint8)).save(path)
        return root

    return copy


def on_all_sets(key, value):
    return [f'{split}_dataloader.dataset.{key}={value}' for split in ('train', 'val', 'test')]


def test_another_ignored_label(nano_segmentor, relabelled, tmp_path):
    """Images of half the crop's size are padded, which only the ignored label may do."""
    root = relabelled(lambda labels: np.where(labels == 3, 250, labels))
    options = [
        'model.decode_head.ignore_index=250',
        'train_dataloader.dataset.pipeline.2.ratio_range=(0.5,0.5)',
        *on_all_sets('reduce_zero_label', False),
        'train_dataloader.dataset.pipeline.1.reduce_zero_label=False',
        'val_dataloader.dataset.pipeline.2.reduce_zero_label=False',
        'test_dataloader.dataset.pipeline.2.reduce_zero_label=False',
    ]
    shared = ['--data-root', str(root), '--work-dir', str(tmp_path), '--cfg-options', *options]
    assert run(train, [nano_segmentor, '--from-scratch', *shared]) == 0
    used = Config.fromfile(tmp_path / 'nano_segmentor.py')
    assert used.model.data_preprocessor.seg_pad_val == 250
    assert used.model.auxiliary_head.ignore_index == used.val_evaluator.ignore_index == 250
    assert run(score, [nano_segmentor, str(tmp_path / 'iter_2.pth'), *shared]) == 0


def test_two_classes_with_one_output(nano_segmentor, relabelled, tmp_path):
    """From label maps of 0 and 1 to the label maps that mmseg itself predicts."""
    root = relabelled(lambda labels: labels > 0)
    (root / 'classes.txt').write_text('ground\nobject\n')
    heads = [
        f'model.{head}.{setting}'
        for head in ('decode_head', 'auxiliary_head')
        for setting in ('out_channels=1', 'threshold=0.5', 'loss_decode.use_sigmoid=True')
    ]
    shared = ['--data-root', str(root), '--work-dir', str(tmp_path), '--classes-from-data']
    assert run(train, [nano_segmentor, '--from-scratch', *shared, '--cfg-options', *heads]) == 0
    config, weights = str(tmp_path / 'nano_segmentor.py'), str(tmp_path / 'iter_2.pth')
    images = sorted(root.glob('images/validation/*'))
    out = tmp_path / 'out'
    assert run(predict, [config, weights, *map(str, images), '--out', str(out)]) == 0
    model = init_model(config, weights, device='cpu')
    model.cfg.test_pipeline = model.cfg.test_dataloader.dataset.pipeline
    seen = set()
    for image in images:
        expected = inference_model(model, str(image)).pred_sem_seg.data[0].numpy()
        found = np.asarray(Image.open(out / 'labels' / f'{image.stem}.png'))
        assert (found == expected).all()
        seen |= set(found.ravel().tolist())
    assert seen <= {0, 1}
    assert run(score, [config, weights, '--work-dir', str(tmp_path / 'score')]) == 0


def test_predictions_are_written_without_label_maps(
    nano_segmentor, segmentor_weights, demo_root, tmp_path
):
    root = shutil.copytree(demo_root / 'ade/ADEChallengeData2016', tmp_path / 'data')
    shutil.rmtree(root / 'annotations/validation')
    options = ['test_evaluator.format_only=True', f'test_evaluator.output_dir={tmp_path / "out"}']
    arguments = [nano_segmentor, segmentor_weights, '--data-root', str(root)]
    shared = ['--work-dir', str(tmp_path), '--cfg-options', *options]
    assert run(score, [*arguments, *shared]) == 0
    images = {path.stem for path in root.glob('images/validation/*')}
    assert {path.stem for path in (tmp_path / 'out').iterdir()} == images


LAST = dict(in_index=3, in_channels=ARCHS['nano'].channels[3])
HEADS = {
    'UPerHead': {},
    'PSPHead': dict(LAST, pool_scales=(1, 2)),
    'ASPPHead': dict(LAST, dilations=(1, 2)),
    'APCHead': dict(LAST, pool_scales=(1, 2)),
}


@pytest.mark.parametrize('kind', HEADS)
def test_one_image_a_batch(kind, nano_segmentor, demo_root, tmp_path, capsys):
    """A batch norm of a map of 1 x 1 is refused at once; both ways out are taken."""
    arguments = [nano_segmentor, '--data-root', str(demo_root), '--work-dir', str(tmp_path)]
    head = {'type': kind, **HEADS[kind]}
    if kind != 'UPerHead':
        head.update(channels=16, num_classes=6, norm_cfg=dict(type='BN'), _delete_=True)
    cfg = load_config(nano_segmentor, {'model.decode_head': head})
    config = tmp_path / 'head.py'
    cfg.dump(config)
    arguments[0] = str(config)
    arguments += ['--from-scratch', '--dry-run', '--cfg-options']
    assert run(train, [*arguments, 'train_dataloader.batch_size=1']) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'model.decode_head.' in error and '1 x 1' in error
    batch, groups = re.search(r'--cfg-options (\S+), or .*batch, (.*)', error).groups()
    assert run(train, [*arguments, batch]) == 0
    assert run(train, [*arguments, 'train_dataloader.batch_size=1', *groups.split()]) == 0


def test_one_image_left_over(nano_segmentor, demo_root, tmp_path, capsys):
    """8 images in batches of 7 leave one."""
    arguments = [nano_segmentor, '--data-root', str(demo_root), '--work-dir', str(tmp_path)]
    epochs = {
        'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=1, _delete_=True),
        'train_dataloader.batch_size': 7,
        'train_dataloader.sampler.type': 'DefaultSampler',
    }
    cfg = load_config(nano_segmentor, epochs)
    cfg.dump(tmp_path / 'epochs.py')
    arguments[0] = str(tmp_path / 'epochs.py')
    arguments += ['--from-scratch', '--dry-run']
    assert run(train, arguments) == 1
    option = 'train_dataloader.drop_last=True'
    assert option in capsys.readouterr().err
    assert run(train, [*arguments, '--cfg-options', option]) == 0


def test_one_image_of_unknown_size(nano_segmentor, demo_root, tmp_path):
    """Where no step of the pipeline tells the size, one image a batch is not refused for it."""
    cfg = load_config(nano_segmentor, {'train_dataloader.batch_size': 1})
    steps = cfg.train_dataloader.dataset.pipeline
    kinds = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    cfg.train_dataloader.dataset.pipeline = [step for step in steps if step.type in kinds]
    cfg.model.decode_head.pool_scales = (2, 3)
    cfg.dump(tmp_path / 'plain.py')
    arguments = ['--data-root', str(demo_root), '--work-dir', str(tmp_path), '--from-scratch']
    assert run(train, [str(tmp_path / 'plain.py'), *arguments]) == 0
