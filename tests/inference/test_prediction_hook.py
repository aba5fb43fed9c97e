"""Pictures after each validation, against those of the weights that the run saved; TensorBoard."""

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glmix_mm import load
from glmix_mm.cli import run
from glmix_mm.config import train_edits
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.inference.picture_hook import PredictionVisualizationHook
from glmix_mm.training.train import main
from glmix_mm.utils.pictures import read_image


def train(config, root, work_dir, *options):
    arguments = [config, '--data-root', str(root), '--work-dir', str(work_dir), '--tensorboard']
    assert run(main, [*arguments, *options]) == 0
    (folder,) = work_dir.glob('*/vis_data')
    events = EventAccumulator(str(folder), size_guidance=dict(images=0, scalars=0))
    events.Reload()
    return folder, events


def test_a_detector(nano_detector, demo_root, tmp_path, monkeypatch):
    monkeypatch.setattr(PredictionVisualizationHook.__init__, '__defaults__', (4, 0.0))
    work_dir = tmp_path / 'run'
    folder, events = train(nano_detector, demo_root, work_dir, '--from-scratch')
    tags = events.Tags()
    assert {'loss', 'lr', 'coco/bbox_mAP'} <= {*tags['scalars']}
    photos = sorted((demo_root / 'coco' / 'val2017').iterdir())
    assert sorted(tags['images']) == [f'predictions_{photo.stem}' for photo in photos]
    (dumped,) = work_dir.glob('*.py')
    model = load(str(dumped), work_dir / 'epoch_2.pth', 'cpu')
    for photo in photos:
        (image,) = events.Images(f'predictions_{photo.stem}')
        assert image.step == 2
        picture = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), 1)[..., ::-1]
        written = cv2.imread(str(folder / 'vis_image' / f'predictions_{photo.stem}_2.png'))
        assert (picture == written[..., ::-1]).all()
        drawn = model.draw(model(photo), photo, score_thr=0.0)
        assert (drawn != read_image(photo)).any()
        assert (picture[:, -drawn.shape[1] :] == drawn).all()  # to the right of the truth


@pytest.mark.parametrize('kind', ['segmentor', 'classifier'])
def test_other_tasks(kind, nano_segmentor, nano_classifier, demo_root, image_root, tmp_path):
    config, root = dict(
        segmentor=(nano_segmentor, demo_root), classifier=(nano_classifier, image_root)
    )[kind]
    options = ['--from-scratch'] if kind == 'segmentor' else []
    tags = train(config, root, tmp_path / 'run', *options)[1].Tags()
    assert 'loss' in tags['scalars']
    assert len(tags['images']) == 4 and all(n.startswith('predictions_') for n in tags['images'])


def test_what_the_option_adds(nano_detector, monkeypatch):
    own = [dict(type='LocalVisBackend'), dict(type='WandbVisBackend')]
    cfg = load_config(nano_detector, dict(visualizer=dict(vis_backends=own)))
    train_edits.use_tensorboard(cfg)
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'WandbVisBackend', 'TensorboardVisBackend']
    assert cfg.custom_hooks[-1].type == 'PredictionVisualizationHook'
    train_edits.use_tensorboard(cfg)
    assert [backend['type'] for backend in cfg.visualizer.vis_backends] == kinds
    monkeypatch.setattr(train_edits, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'--tensorboard: .*pip install'):
        train_edits.use_tensorboard(cfg)


def test_no_image_to_show():
    with pytest.raises(UserError, match='num_images=0 must be at least 1'):
        PredictionVisualizationHook(num_images=0)
