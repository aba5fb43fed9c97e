"""Saves pictures of what is predicted in a test."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from ..utils.pictures import read_image, save_picture
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
