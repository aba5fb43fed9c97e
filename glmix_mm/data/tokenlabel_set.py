"""ImageNet with token labels for mmpretrain: the data set, and transforms that move both alike."""

import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform, RandomFlip
from mmcv.transforms.utils import cache_random_params
from mmengine.registry import DATASETS, TRANSFORMS
from mmpretrain.datasets import ImageNet
from mmpretrain.datasets.transforms import RandAugment, RandomResizedCrop
from mmpretrain.datasets.transforms.auto_augment import Rotate, Shear, Translate
from numpy import ndarray

from .tokenlabels import read_token_labels, token_label_name

MOVING = (Rotate, Shear, Translate)  # RandAugment's operations that move pixels
OUTSIDE = -1
FLIPPED_AXES = dict(horizontal=-1, vertical=-2, diagonal=(-2, -1))


@DATASETS.register_module()
class TokenLabelImageNet(ImageNet):
    """mmpretrain's ImageNet, each of whose images has a file of token labels.

    Args:
        token_labels: folder of the token labels, below ``data_root``.
        data_root: folder of the data set.
        **kwargs: as mmpretrain's ``ImageNet``.
    """

    def __init__(self, token_labels: str, data_root: str = '', **kwargs):
        self.token_label_root = os.path.join(data_root, token_labels)
        super().__init__(data_root=data_root, **kwargs)

    def get_data_info(self, idx: int) -> dict:
        """Return what the pipeline starts from."""
        info = super().get_data_info(idx)
        name = token_label_name(os.path.relpath(info['img_path'], self.img_prefix))
        path = os.path.join(self.token_label_root, name)
        return dict(info, token_label_path=path, num_classes=len(self.metainfo['classes']))


@TRANSFORMS.register_module()
class LoadTokenLabels(BaseTransform):
    """Reads an image's token labels: ``token_labels``, (2, k, h, w)."""

    def transform(self, results: dict) -> dict:
        """Add the labels.

        Raises:
            UserError: see :func:`glmix_mm.data.tokenlabels.read_token_labels`.
        """
        path, num_classes = results['token_label_path'], results['num_classes']
        return dict(results, token_labels=read_token_labels(path, num_classes))


@TRANSFORMS.register_module()
class FlipWithTokenLabels(RandomFlip):
    """mmcv's ``RandomFlip``, with the token labels."""

    def _flip(self, results: dict) -> None:
        super()._flip(results)
        axes = FLIPPED_AXES[results['flip_direction']]
        results['token_labels'] = np.flip(results['token_labels'], axes).copy()


@TRANSFORMS.register_module()
class RandAugmentWithTokenLabels(RandAugment):
    """mmpretrain's ``RandAugment``; what moves the pixels moves the token labels as well.

    Each position takes the labels of the one that its centre shows; where that is outside the
    image, no class is likelier than another.
    """

    def transform(self, results: dict) -> dict:
        """Augment image and labels by the same randomly chosen operations."""
        labels, size = results['token_labels'], results['img'].shape[:2]
        numbers = _numbers(size, labels.shape[2:])
        for place in self.random_policy_indices():
            operation = self.transforms[place]
            with cache_random_params(operation):
                if isinstance(operation, MOVING):
                    numbers = _move(operation, numbers)
                results = operation(results)
        return dict(results, token_labels=_take(labels, numbers))


def _numbers(size: Sequence[int], grid: Sequence[int]) -> ndarray:
    """Return an image (H, W) of the numbers of a grid's positions."""
    rows, columns = (
        np.arange(pixels) * count // pixels for pixels, count in zip(size, grid, strict=True)
    )
    return (rows[:, None] * grid[1] + columns).astype(np.float32)


def _move(operation: Rotate | Shear | Translate, numbers: ndarray) -> ndarray:
    """Move an image of numbers, none of them changed."""
    own = operation.interpolation, operation.pad_val
    operation.interpolation, operation.pad_val = 'nearest', OUTSIDE
    moved = operation(dict(img=numbers))['img']
    operation.interpolation, operation.pad_val = own
    return moved


def _take(labels: ndarray, numbers: ndarray) -> ndarray:
    """Return the labels of the positions whose numbers stand where the centres of positions are."""
    rows, columns = (
        (2 * np.arange(count) + 1) * pixels // (2 * count)
        for pixels, count in zip(numbers.shape, labels.shape[2:], strict=True)
    )
    sources = numbers[np.ix_(rows, columns)].astype(int)  # (h, w)
    taken = labels.reshape(*labels.shape[:2], -1)[..., np.maximum(sources, 0)]
    taken[0, :, sources == OUTSIDE] = 0
    return taken


@TRANSFORMS.register_module()
class CropWithTokenLabels(RandomResizedCrop):
    """mmpretrain's ``RandomResizedCrop`` that notes what it cut out.

    ``crop`` holds left, top, right and bottom as parts of the image, for the network's head to cut
    the labels of a whole batch at once.
    """

    def transform(self, results: dict) -> dict:
        """Crop and resize the image."""
        height, width = results['img'].shape[:2]
        with cache_random_params(self):
            top, left, rows, columns = self.rand_crop_params(results['img'])
            results = super().transform(results)
        box = (left / width, top / height, (left + columns) / width, (top + rows) / height)
        return dict(results, crop=np.array(box, np.float32))
