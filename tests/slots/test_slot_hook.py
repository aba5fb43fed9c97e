"""Panels that a short training run leaves, against those of the weights that it saved."""

from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, VISBACKENDS, DefaultScope
from mmengine.visualization import BaseVisBackend

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.models.build import build_model
from glmix_mm.slots.assignments import slot_assignments
from glmix_mm.slots.slot_hook import SlotVisualizationHook
from glmix_mm.slots.slot_panel import draw_slots, panel_title
from glmix_mm.training.train import main


def with_hook(base, folder, **options):
    """Write a config that adds the hook to another's."""
    hooks = [*load_config(base).get('custom_hooks', []), dict(type='SlotVisualizationHook')]
    hooks = [dict(hook) for hook in hooks]
    hooks[-1].update(options)
    path = folder / 'with_hook.py'
    path.write_text(f'_base_ = {base!r}\ncustom_hooks = {hooks!r}\n')
    return str(path)


def train(config, root, work_dir, *options):
    arguments = [config, '--data-root', str(root), '--work-dir', str(work_dir), *options]
    assert run(main, arguments) == 0
    (folder,) = work_dir.glob('*/vis_data/vis_image')
    return {path.name: cv2.imread(str(path))[..., ::-1] for path in folder.iterdir()}


def expected(work_dir, checkpoint, indices, blocks, step):
    """Draw the panels from the weights that the run saved, and from the images that it read."""
    (dumped,) = work_dir.glob('*.py')
    cfg = load_config(str(dumped))
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))  # of classifiers
    state = torch.load(work_dir / checkpoint, weights_only=False)['state_dict']
    model = build_model(cfg)
    model.load_state_dict(state)
    model.eval()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
    panels = {}
    for index in indices:
        item = dataset[index]
        images = model.data_preprocessor(pseudo_collate([item]), False)['inputs']
        pixels = item['inputs'].numpy()[::-1].transpose(1, 2, 0)  # read as BGR
        padded = np.empty((*images.shape[2:], 3))
        padded[:] = np.rint(cfg.model.data_preprocessor.mean)  # zero once normalised
        padded[: pixels.shape[0], : pixels.shape[1]] = pixels
        path = item['data_samples'].img_path
        name = path.rpartition('/')[2]
        for block, shares in slot_assignments(model.backbone, images, blocks).items():
            shares = shares[0].numpy()
            title = panel_title(name, block, shares)
            panel = draw_slots(padded.astype(np.uint8), shares, title)
            panels[f'slots_{name.partition(".")[0]}_block{block}_{step}.png'] = panel
    return panels


def check_same(found, panels):
    assert sorted(found) == sorted(panels)
    for name, panel in panels.items():
        assert found[name].shape == panel.shape
        # Rounding alone: of the normalisation there and back, and of the float32 kernels.
        different = np.abs(found[name].astype(int) - panel).max(2) > 8
        assert different.mean() < 0.01, name


def test_a_detector_by_epoch(nano_detector, demo_root, tmp_path):
    config = with_hook(nano_detector, tmp_path, num_images=2)
    found = train(config, demo_root, tmp_path / 'run', '--from-scratch')
    check_same(found, expected(tmp_path / 'run', 'epoch_2.pth', (0, 2), [0, 1, 2], 2))


@VISBACKENDS.register_module()
class Recorder(BaseVisBackend):
    """Stands for backends that are not installed here, as TensorBoard's and WandB's."""

    images: ClassVar[list] = []

    @property
    def experiment(self):
        return self

    def _init_env(self):
        pass

    def add_image(self, name, image, step=0, **kwargs):
        self.images.append((f'{name}_{step}.png', image))


def test_a_segmentor_by_iteration_and_every_backend(nano_segmentor, demo_root, tmp_path):
    config = with_hook(nano_segmentor, tmp_path, num_images=1, blocks=[1])
    with open(config, 'a') as file:
        file.write("visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), ")
        file.write("dict(type='Recorder', save_dir='unused')])\n")
    found = train(config, demo_root, tmp_path / 'run', '--from-scratch')
    check_same(found, expected(tmp_path / 'run', 'iter_2.pth', [0], [1], 2))
    recorded = dict(Recorder.images)
    assert recorded.keys() == found.keys()
    assert all((recorded[name] == panel).all() for name, panel in found.items())


def test_a_classifier_with_averaged_weights(nano_classifier, image_root, tmp_path):
    config = with_hook(nano_classifier, tmp_path, num_images=1, blocks=[2])
    found = train(config, image_root, tmp_path / 'run')
    # After every epoch, with the weights that were validated and saved.
    assert len(found) == 2
    last = {name: panel for name, panel in found.items() if name.endswith('_2.png')}
    check_same(last, expected(tmp_path / 'run', 'epoch_2.pth', [0], [2], 2))


def test_other_processes_draw_nothing(monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda group=None: False)
    assert SlotVisualizationHook().after_val_epoch(runner=None) is None


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_images=0), 'num_images=0 must be at least 1'),
        (dict(blocks=[9]), 'no GLMix block 9: this GLNet has 3'),
    ],
)
def test_mistakes_are_found_before_training(
    options, message, nano_segmentor, demo_root, tmp_path, capsys
):
    config = with_hook(nano_segmentor, tmp_path, **options)
    arguments = [config, '--data-root', str(demo_root), '--from-scratch']
    arguments += ['--work-dir', str(tmp_path / 'run')]
    assert run(main, arguments) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_model_without_slots():
    class Runner:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(UserError, match='Linear has no backbone'):
        SlotVisualizationHook().before_run(Runner)
    Runner.model = torch.nn.Sequential()
    Runner.model.backbone = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match='Linear has no blocks with slots'):
        SlotVisualizationHook().before_run(Runner)
