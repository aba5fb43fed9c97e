"""A model by its name, and its results on an image: what ``from glmix_mm import load`` gives."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from ..checkpoints.fit import check_fit, read, weights_of
from ..config.checked_parts import use_checked_images, use_own_loading
from ..config.load_config import load_config
from ..config.test_edits import name_test_pipeline
from ..errors import UserError
from ..models.build import build_model
from ..training.official_weights_hook import accept_official
from ..utils.devices import find_device
from ..utils.messages import some
from ..utils.pictures import read_image
from ..utils.registry_errors import config_mistakes
from .classify import classify, make_classifier
from .coco_results import coco_results, objects_of
from .drawing import draw_sample
from .predict import find_classes, library_of

COLOURS = ('rgb', 'bgr')
Picture = str | Path | PIL.Image.Image | np.ndarray


class Predictor:
    """A detector, a segmentor or a classifier that is called on images.

    Attributes:
        model: the model of mmdet, mmseg or mmpretrain, in evaluation mode.
        classes: the names of the classes.
    """

    def __init__(self, model: nn.Module, library: str, inferencer: object = None):
        self.model = model
        self.classes = list(model.dataset_meta['classes'])
        self._library = library
        self._inferencer = inferencer  # of a classifier
        self._loading = [] if inferencer else [step['type'] for step in self._first_steps()]

    def __repr__(self) -> str:
        parts = [self.model, getattr(self.model, 'backbone', None)]
        kind = ' with '.join(type(part).__name__ for part in parts if part is not None)
        classes = f'{len(self.classes)} classes: {some(self.classes)}'
        return f'Predictor({kind}; {classes}; on {next(self.model.parameters()).device})'

    def __call__(
        self, image: Picture | Sequence[Picture], color: str = 'rgb'
    ) -> BaseDataElement | list[BaseDataElement]:
        """Predict.

        Args:
            image: a file, an address (http or https), an image of Pillow's, or pixels (h, w, 3),
                uint8; or a list of such.
            color: the order of the channels of pixels, 'rgb' or 'bgr', as OpenCV reads them.

        Returns:
            mmdet's ``DetDataSample`` (boxes, scores, labels and masks in ``pred_instances``),
            mmseg's ``SegDataSample`` (the label map in ``pred_sem_seg``) or mmpretrain's
            ``DataSample``. The last has ``pred_score``, a probability per class, and
            ``pred_label``, the best class. A list of images gives a list.

        Raises:
            UserError: an image cannot be read, or it is nothing of the above.
        """
        several = isinstance(image, (list, tuple))
        images = image if several else [image]
        if self._inferencer:
            pixels = (np.ascontiguousarray(_read(one, color)[..., ::-1]) for one in images)
            results = [classify(self._inferencer, one) for one in pixels]
            return results if several else results[0]
        images = [_for_pipeline(one, color) for one in images]
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

    def draw(
        self,
        result: BaseDataElement,
        image: Picture,
        score_thr: float = 0.3,
        color: str = 'rgb',
    ) -> np.ndarray:
        """Draw a result on its image, as ``glmix predict`` does.

        Args:
            result: of the call, on one image.
            image: what was predicted on.
            score_thr: least score of a detection.
            color: as of the call.

        Returns:
            RGB, uint8 (h, w, 3); of a label map, with a legend below.

        Raises:
            UserError: the image cannot be read, or the result is of another one.
        """
        _expect_one(result)
        pixels = _read(image, color)
        size = result.metainfo.get('ori_shape', pixels.shape)
        if tuple(size[:2]) != pixels.shape[:2]:
            raise UserError(
                f'found an image of {pixels.shape[1]} x {pixels.shape[0]} px; expected the one of '
                f'the result, {size[1]} x {size[0]} px'
            )
        return draw_sample(pixels, result, self.model.dataset_meta, score_thr)

    def to_coco(
        self,
        result: BaseDataElement,
        image_id: int = 1,
        category_ids: Sequence[int] | None = None,
        score_thr: float = 0.0,
    ) -> list[dict]:
        """Return a detector's result as COCO's json has results, for ``COCO.loadRes``.

        Args:
            result: of the call, on one image.
            image_id: the image's number in the annotation file.
            category_ids: the classes' numbers there, in the order of ``classes``; by default 1, 2,
                and so on.
            score_thr: least score.

        Returns:
            For each object ``image_id``, ``category_id``, ``score``, ``bbox`` (x, y, width, height
            in pixels) and ``area``. With masks also ``segmentation`` (run lengths).

        Raises:
            UserError: the result is of no detector, or there are not as many numbers as classes.
        """
        if self._library != 'mmdet':
            raise UserError(
                'to_coco is for detectors; a label map is in result.pred_sem_seg.data (1, h, w), '
                'probabilities of the classes are in result.pred_score'
            )
        _expect_one(result)
        ids = list(category_ids or range(1, len(self.classes) + 1))
        if len(ids) != len(self.classes):
            raise UserError(f'found {len(ids)} category_ids; expected {len(self.classes)}')
        found = objects_of(result, len(ids))
        return coco_results(found, image_id, ids, score_thr)

    def _first_steps(self) -> list[dict]:
        """Return the steps of the test pipelines that read an image."""
        cfg = self.model.cfg
        return [cfg.test_pipeline[0], cfg.test_dataloader.dataset.pipeline[0]]


def _expect_one(result: object) -> None:
    if not isinstance(result, BaseDataElement):
        raise UserError(
            f'found {type(result).__name__}; expected what the model returns for one image'
        )


def _read(image: object, color: str) -> np.ndarray:
    """Return the RGB pixels of a file, of an address, or of what :func:`to_rgb` takes."""
    is_named = isinstance(image, (str, Path))
    return read_image(image) if is_named else to_rgb(image, color)


def _for_pipeline(image: object, color: str) -> str | np.ndarray:
    """Return a file's name or an address, or BGR pixels, as the libraries take them."""
    if isinstance(image, (str, Path)):
        return str(image)
    return np.ascontiguousarray(to_rgb(image, color)[..., ::-1])


def to_rgb(image: object, color: str) -> np.ndarray:
    """Return the RGB pixels, uint8 (h, w, 3), of an image of Pillow's or of pixels.

    Args:
        image: of Pillow's, turned upright by its EXIF record as files are; or uint8 (h, w, 3).
        color: the order of the channels of pixels.

    Raises:
        UserError: it is something else, or cannot be read.
    """
    if color not in COLOURS:
        raise UserError(f'color={color!r}: expected {" or ".join(map(repr, COLOURS))}')
    if isinstance(image, PIL.Image.Image):
        return _pixels_of(image)
    if isinstance(image, np.ndarray):
        expected = 'pixels (h, w, 3) of uint8, from 0 to 255'
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UserError(f'found an array of shape {image.shape}; expected {expected}')
        if image.dtype != np.uint8:
            raise UserError(
                f'found {image.dtype} from {image.min()} to {image.max()}; expected {expected}: of '
                'floats from 0 to 1 give (255 * image).round().astype("uint8")'
            )
        return image if color == 'rgb' else image[..., ::-1]
    shape = getattr(image, 'shape', None)
    found = type(image).__name__ + (f' of shape {tuple(shape)}' if shape is not None else '')
    raise UserError(
        f'found {found}; expected a file, a URL, a Pillow image, or pixels as a numpy array '
        '(h, w, 3), uint8'
    )


def _pixels_of(image: PIL.Image.Image) -> np.ndarray:
    """Return the RGB pixels of Pillow's image, which reads its file only now."""
    name = getattr(image, 'filename', '') or f"Pillow's image of mode {image.mode}"
    if image.mode in ('I', 'F'):
        raise UserError(f'{name}: its samples have 32 bits; expected 8 or 16')
    try:
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode.startswith('I;16'):  # the upper 8 bits, as OpenCV reads files
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(image.convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f'{name}: not a readable image ({error})') from error


def load(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
) -> Predictor:
    """Return a detector, a segmentor or a classifier, ready for images.

    Args:
        config: a config file, the name of one that comes with this package, or a config.
        checkpoint: one that was trained with this config. Without it the weights are random, with a
            warning.
        device: 'cpu', 'cuda' or 'cuda:N'; by default CUDA's first one where there is one.

    Raises:
        UserError: no such config or device, the config is of none of the three, or the checkpoint
            does not fit it.
    """
    is_loaded = isinstance(config, Config)
    cfg = copy.deepcopy(config) if is_loaded else load_config(str(config))
    use_own_loading(cfg)
    name, library = str(cfg.filename if is_loaded else config), library_of(cfg)
    device = str(find_device(device and str(device), 'device='))
    content = {}
    if checkpoint is None:
        warnings.warn(
            f'load({name!r}) without a checkpoint: all weights are random, so the results mean '
            'nothing; give one that was trained with this config, checkpoint=...',
            stacklevel=2,
        )
    else:
        checkpoint = str(checkpoint)
        model = build_model(cfg)
        content = accept_official(cfg, model, read(checkpoint), checkpoint)
        check_fit(model.state_dict(), content, checkpoint, cfg)
    state = weights_of(content, checkpoint) if content else {}
    inferencer = make_classifier(cfg, state, device) if library == 'mmpretrain' else None
    model = inferencer.model if inferencer else _build(cfg, device)
    if state:
        model.load_state_dict(state, strict=False)
    model.dataset_meta = find_classes(cfg, content, warnings.warn)
    return Predictor(model, library, inferencer)


def _build(cfg: Config, device: str) -> nn.Module:
    """Return mmdet's or mmseg's own model of a config, with random weights."""
    cfg = copy.deepcopy(cfg)
    use_checked_images(cfg, cfg.test_dataloader.dataset.pipeline)
    name_test_pipeline(cfg)
    with config_mistakes(cfg.filename), warnings.catch_warnings(record=True):
        if cfg.default_scope == 'mmdet':
            from mmdet.apis import init_detector as init
        else:
            from mmseg.apis import init_model as init
        return init(cfg, device=device)
