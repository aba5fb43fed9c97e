"""Token labels as LV-ViT's authors publish them: reading them, and a check before training.

One file per image, ``CLASS/IMAGE.pt``, holds for each position of a coarse map the scores (logits)
of its most likely classes and the classes' numbers: a tensor (2, k, h, w), in theirs k = 5.
"""

import os
from collections.abc import Iterable

import torch
from mmengine.dataset import BaseDataset
from numpy import ndarray
from torch import Tensor

from ..checkpoints.safe_reading import read_checkpoint
from ..errors import UserError
from .paths import Place, require_images

LAYOUT = 'CLASS/IMAGE.pt for each training image CLASS/IMAGE.JPEG'
SAMPLED = 16  # files that are read before training
GET = (
    'get label_top5_train_nfnet (https://github.com/zihangJiang/TokenLabeling, "Label data") and '
    'unpack it there, or name its folder with --cfg-options train_dataloader.dataset.token_labels='
)


def token_label_name(image: str) -> str:
    """Return the file of an image's token labels, both relative to their folders."""
    return os.path.splitext(image)[0] + '.pt'


def read_token_labels(path: str, num_classes: int) -> ndarray:
    """Read the token labels of one image; nothing in the file is run.

    Args:
        path: of the file.
        num_classes: how many classes there are.

    Returns:
        Scores and class numbers, float32 (2, k, h, w).

    Raises:
        UserError: the file is missing, unsafe or truncated, or holds something else.
    """
    content = read_checkpoint(path, kind='token label')
    if not isinstance(content, Tensor) or content.dim() != 4 or content.shape[0] != 2:
        is_tensor = isinstance(content, Tensor)
        found = f'a tensor {tuple(content.shape)}' if is_tensor else type(content).__name__
        raise UserError(
            f'{path}: holds {found}; expected a tensor (2, k, h, w), the scores of the k most '
            'likely classes of each position and the numbers of these classes'
        )
    labels = content.float()
    scores, classes = labels
    if labels.numel() == 0 or not torch.isfinite(scores).all():
        state = 'is empty' if labels.numel() == 0 else 'has scores that are not finite'
        raise UserError(f'{path}: {state}; copy or download it again')
    wrong = classes[(classes < 0) | (classes >= num_classes) | (classes != classes.round())]
    if len(wrong):
        raise UserError(
            f'{path}: has class {wrong[0].item():g}, expected whole numbers from 0 to '
            f'{num_classes - 1} for {num_classes} classes; give the token labels of this data set'
        )
    return labels.numpy()


def check_token_labels(
    dataset: BaseDataset, place: Place, num_classes: int, images: Iterable[str]
) -> None:
    """Check that all images have token labels, and what is in evenly chosen files.

    Args:
        dataset: a ``TokenLabelImageNet`` whose images were found good.
        place: its folder.
        num_classes: how many classes it has.
        images: their paths.

    Raises:
        UserError: files are missing, or hold something else.
    """
    root = dataset.token_label_root
    if not os.path.isdir(root):
        raise UserError(
            f'{place.split} data: the token labels in {os.path.abspath(root)} are missing; '
            f'expected {LAYOUT}; {GET}DIR'
        )
    folder = dataset.img_prefix
    names = [token_label_name(os.path.relpath(image, folder)) for image in images]
    require_images(f'{place.split} data', root, names, f'{GET}DIR', 'token labels')
    first = None
    for name in names[:: max(1, len(names) // SAMPLED)]:
        path = os.path.join(root, name)
        shape = read_token_labels(path, num_classes).shape
        first = first or (path, shape)
        if shape != first[1]:
            raise UserError(
                f'{path}: is of shape {shape}, but {first[0]} of {first[1]}; token labels of a '
                'data set must have one shape'
            )
