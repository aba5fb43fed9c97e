"""A model by its name, and its results on an image: what ``from glmix_mm import load`` gives."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import UserError
from .checkpoints import build_model, check_fit, read, weights_of
from .cli import find_device
from .config import config_mistakes, load_config
from .predict import find_classes

LIBRARIES = ('mmdet', 'mmseg')
Image = str | Path | np.ndarray  # a file, or BGR pixels (h, w, 3) as OpenCV reads them


class Predictor:
    """A detector or a segmentor that is called on images.

    Attributes:
        model: mmdet's or mmseg's model, in evaluation mode.
        classes: names.
    """

    def __init__(self, model: nn.Module, library: str):
        self.model = model
        self.classes = list(model.dataset_meta['classes'])
        self._library = library
        self._loading = [step['type'] for step in self._first_steps()]

    def __call__(self, image: Image | Sequence[Image]) -> BaseDataElement | list[BaseDataElement]:
        """Predict.

        Args:
            image: a file, or BGR pixels (h, w, 3), uint8; or a list of such.

        Returns:
            mmdet's ``DetDataSample`` (boxes, scores, labels and masks in ``pred_instances``) or
            mmseg's ``SegDataSample`` (the label map in ``pred_sem_seg``), or a list of such.

        Raises:
            UserError: a file cannot be read, or it is neither a file nor such pixels.
        """
        several = isinstance(image, (list, tuple))
        images = [_accept(one) for one in (image if several else [image])]
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', module='mm')  # of the libraries' own older ways
            if self._library == 'mmdet':
                from mmdet.apis import inference_detector as infer
            else:
                from mmseg.apis import inference_model as infer
            results = []
            for one in images:
                # Both libraries put another step here for pixels, and leave it there.
                for step, kind in zip(self._first_steps(), self._loading, strict=True):
                    step['type'] = kind
                results.append(infer(self.model, one))
        return results if several else results[0]

    def _first_steps(self) -> list[dict]:
        """Return the steps of the test pipelines that read an image."""
        cfg = self.model.cfg
        return [cfg.test_pipeline[0], cfg.test_dataloader.dataset.pipeline[0]]


def _accept(image: object) -> str | np.ndarray:
    """Return a file's name, or pixels, as the libraries take them.

    Raises:
        UserError: it is something else.
    """
    if isinstance(image, (str, Path)):
        return str(image)
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3:
        return image
    shape = getattr(image, 'shape', None)
    found = type(image).__name__ + (f' of shape {tuple(shape)}' if shape is not None else '')
    raise UserError(f'found {found}; expected a file, or BGR pixels as numpy array (h, w, 3)')


def load(
    config: str | Path, checkpoint: str | Path | None = None, device: str | None = None
) -> Predictor:
    """Return a detector or a segmentor, ready for images.

    Args:
        config: a config file, or the name of one that comes with this package.
        checkpoint: one that was trained with this config. Without it the weights are random, and a
            warning says so.
        device: 'cpu', 'cuda' or 'cuda:N'; by default CUDA's first one where there is one.

    Raises:
        UserError: no such config or device, the config is of neither a detector nor a segmentor,
            or the checkpoint does not fit it.
    """
    cfg = load_config(str(config))
    library = cfg.get('default_scope')
    if library not in LIBRARIES:
        raise UserError(f'{cfg.filename} is for {library}; expected a detector or a segmentor')
    device = str(find_device(device, 'device='))
    content = {}
    if checkpoint is None:
        warnings.warn(
            f'load({str(config)!r}) without a checkpoint: all weights are random, so the results '
            'mean nothing; give one that was trained with this config, checkpoint=...',
            stacklevel=2,
        )
    else:
        checkpoint = str(checkpoint)
        content = read(checkpoint)
        check_fit(build_model(cfg).state_dict(), content, checkpoint, cfg)
    model = _build(cfg, device)
    if content:
        model.load_state_dict(weights_of(content, checkpoint), strict=False)
    model.dataset_meta = find_classes(cfg, content)
    return Predictor(model, library)


def _build(cfg: Config, device: str) -> nn.Module:
    """Return mmdet's or mmseg's own model of a config, with random weights."""
    cfg = copy.deepcopy(cfg)
    # Both libraries take the pipeline of what their tools test, wherever the config has it.
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
    with config_mistakes(cfg.filename), warnings.catch_warnings(record=True):
        if cfg.default_scope == 'mmdet':
            from mmdet.apis import init_detector as init
        else:
            from mmseg.apis import init_model as init
        return init(cfg, device=device)
