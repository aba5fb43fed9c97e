"""Classifiers through mmpretrain's own inferencer."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement

if TYPE_CHECKING:
    from mmpretrain import ImageClassificationInferencer

BEST = 5  # classes of an image that results list


def make_classifier(
    cfg: Config, state: dict[str, torch.Tensor], device: str
) -> 'ImageClassificationInferencer':
    """Return mmpretrain's inferencer of a config.

    Args:
        cfg: a classifier's config.
        state: weights that fit it; {} for random ones.
        device: such as 'cpu'.
    """
    from mmpretrain import ImageClassificationInferencer

    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device=device)
    inferencer.scope = 'mmpretrain'  # as the inferencers of mmdet and mmseg have it
    if state:
        inferencer.model.load_state_dict(state, strict=False)
    return inferencer


def classify(inferencer: 'ImageClassificationInferencer', pixels: np.ndarray) -> BaseDataElement:
    """Return mmpretrain's ``DataSample`` of an image, BGR, uint8 (H, W, 3)."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', module='mm')  # of its own older ways
        (sample,) = inferencer.forward(next(iter(inferencer.preprocess([pixels]))))
    return sample


def class_results(
    sample: BaseDataElement, image_id: int | str, numbers: Sequence[int]
) -> list[dict]:
    """Return an image's best classes, the best first, as ``predict`` writes them.

    Args:
        sample: with ``pred_score``, a probability for each class.
        image_id: of the image.
        numbers: each class's category.
    """
    scores = sample.pred_score.cpu()
    best = scores.argsort(descending=True, stable=True)[:BEST].tolist()
    return [
        dict(image_id=image_id, category_id=numbers[label], score=float(scores[label]))
        for label in best
    ]
