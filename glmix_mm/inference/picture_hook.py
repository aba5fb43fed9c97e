"""Pictures of what is predicted: of all images in a test, of a few after each validation."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import UserError
from ..utils.pictures import output_names, read_image, save_picture
from .drawing import draw_sample

# Endings of formats that hold colours; .pgm, for one, holds grey alone.
COLOURED = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.tif', '.tiff', '.webp')


@HOOKS.register_module()
class PredictionPictureHook(Hook):
    """Saves a picture of each test image's predictions, beside the truth where there is one.

    It works for mmdet, mmseg and mmpretrain, and draws as ``glmix predict`` does. Pictures have the
    images' names, below the folder that all images have in common, so that images of one name in
    several folders have a picture each.

    Args:
        out_dir: folder for the pictures.
        score_thr: least score of a detection that is drawn.
    """

    def __init__(self, out_dir: str, score_thr: float = 0.3):
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr

    def before_test(self, runner: Runner) -> None:
        """Find the folder that all images have in common."""
        dataset = runner.test_dataloader.dataset
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        self._root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] = (),
    ) -> None:
        """Draw the images of a batch.

        Raises:
            OSError: a picture cannot be written.
        """
        meta = runner.test_dataloader.dataset.metainfo
        for sample in outputs:
            image = read_image(sample.img_path)
            picture = draw_sample(image, sample, meta, self.score_thr, with_truth=True)
            name = os.path.relpath(os.path.abspath(sample.img_path), self._root)
            if Path(name).suffix.lower() not in COLOURED:
                name += '.png'
            save_picture(self.out_dir / name, picture, Path(name).suffix)


@HOOKS.register_module()
class PredictionVisualizationHook(Hook):
    """Gives pictures of predictions to the visualizer, after each validation.

    Every backend of the visualizer gets them: files, TensorBoard, WandB. It works for detectors,
    segmentors and classifiers, in runs by epoch and by iteration; of several processes, the first
    one draws. The images are always the same, each beside its truth.

    Args:
        num_images: how many, evenly spread over the validation set.
        score_thr: least score of a detection that is drawn.

    Raises:
        UserError: there is less than one image to show.
    """

    priority = 'HIGH'  # before EMAHook puts back the weights that were not validated

    def __init__(self, num_images: int = 4, score_thr: float = 0.3):
        check_count(self, num_images)
        self.num_images = num_images
        self.score_thr = score_thr

    @master_only
    @torch.no_grad()
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw what the weights that were validated predict."""
        model = unwrapped(runner.model)
        meta = runner.val_dataloader.dataset.metainfo
        for item, path, name in fixed_images(runner, self.num_images):
            (sample,) = model.val_step(pseudo_collate([item]))
            picture = draw_sample(read_image(path), sample, meta, self.score_thr, with_truth=True)
            runner.visualizer.add_image(f'predictions_{name}', picture, step_of(runner))


def check_count(hook: Hook, num_images: int) -> None:
    """Check a hook's number of images.

    Raises:
        UserError: it is below 1.
    """
    if num_images < 1:
        raise UserError(f'{type(hook).__name__}: num_images={num_images} must be at least 1')


def fixed_images(runner: Runner, count: int) -> Iterator[tuple[dict, Path, str]]:
    """Yield items of the validation set, evenly spread, with the image's path and a name."""
    dataset = runner.val_dataloader.dataset
    count = min(count, len(dataset))
    items = [dataset[i * len(dataset) // count] for i in range(count)]
    paths = [Path(item['data_samples'].img_path) for item in items]
    return zip(items, paths, output_names(paths), strict=True)


def step_of(runner: Runner) -> int:
    """Return how far the training is, in epochs or in iterations as its log counts."""
    return runner.epoch if runner.log_processor.by_epoch else runner.iter


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model itself, without what distributes it."""
    return model.module if is_model_wrapper(model) else model
