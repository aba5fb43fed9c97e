"""One image through a library's inferencer: the picture and what is found in it."""

import warnings
from pathlib import Path

import numpy as np
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement

from ..utils.pictures import read_image
from .classify import classify
from .drawing import draw_sample


def infer(
    inferencer: BaseInferencer, image: str | np.ndarray, score_thr: float
) -> tuple[BaseDataElement, np.ndarray]:
    """Predict on an image and draw it.

    Args:
        inferencer: of mmdet, mmseg or mmpretrain.
        image: a path, or a frame of a video, BGR, uint8 (H, W, 3).
        score_thr: least score of a detection that is drawn.

    Returns:
        The sample with its predictions, and the picture: RGB, uint8 (H, W, 3).
    """
    # The pipelines take arrays as BGR.
    is_path = isinstance(image, str)
    shown = read_image(Path(image)) if is_path else np.ascontiguousarray(image[..., ::-1])
    meta = inferencer.model.dataset_meta
    if inferencer.scope == 'mmpretrain':
        sample = classify(inferencer, np.ascontiguousarray(shown[..., ::-1]))
        return sample, draw_sample(shown, sample, meta)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', module='mm')
        batch = next(iter(inferencer.preprocess([image])))
        # mmdet's: with paths
        (sample,) = inferencer.forward(batch[1] if inferencer.scope == 'mmdet' else batch)
    return sample, draw_sample(shown, sample, meta, score_thr, is_frame=not is_path)


def label_map(sample: BaseDataElement) -> np.ndarray:
    """Return an image's label map, integers (H, W)."""
    return sample.pred_sem_seg.data[0].cpu().numpy().astype(np.int64)  # floats with one output


def smallest(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return a label map in the least type that holds all classes, as it is written."""
    return labels.astype(np.min_scalar_type(classes))
