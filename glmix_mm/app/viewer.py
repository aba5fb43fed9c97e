"""What the page shows, without the page: uploads that are checked, predictions and slots."""

import io
import json
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from PIL import Image

from ..errors import UserError
from ..inference.classify import class_results
from ..inference.coco_results import NO_IDS, KnownIds, objects_of
from ..inference.infer import label_map, smallest
from ..inference.load import Predictor
from ..inference.predict import LABEL_MAPS, library_of
from ..inference.results import Results
from ..models.glmix import GLMix
from ..models.slot_grid import SlotGrid
from ..slots.assignments import blocks_of_stages, slot_assignments
from ..slots.draw_slots import prepare_image
from ..utils.pictures import decode_rgb

MAX_BYTES = 20 * 10**6
MAX_PIXELS = 16 * 10**6  # a detector's 100 masks of that size take 1.6 GB
LIMITS = f'{MAX_BYTES // 10**6} MB and {MAX_PIXELS // 10**6} million pixels'
GRIDS = ((4, 4), (6, 6), (8, 8), (12, 12), (16, 16))


def read_upload(data: bytes, name: str) -> np.ndarray:
    """Return the RGB pixels, uint8 (H, W, 3), of an image file from anyone.

    Raises:
        UserError: it is no image that Pillow knows, damaged, or above the limits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            pixels = np.prod(Image.open(io.BytesIO(data)).size)
    except Image.DecompressionBombError:
        pixels = np.inf
    except Exception:  # Pillow raises many kinds
        raise UserError(f'{name}: not a picture; expected a JPEG, PNG, WebP or TIFF file') from None
    if len(data) > MAX_BYTES or pixels > MAX_PIXELS:
        raise UserError(f'{name}: is too large; pictures may have up to {LIMITS}, scale it down')
    return decode_rgb(data, name)


def slots_at(shares: np.ndarray, x: float, y: float, count: int = 6) -> dict[int, float]:
    """Return the strongest slots at a point of the picture, and their shares there from 0 to 1.

    Args:
        shares: (S, h, w), of an image.
        x: from 0, the left edge, to 1, the right one.
        y: from 0, the upper edge, to 1, the lower one.
        count: how many slots at most.
    """
    _, height, width = shares.shape
    here = shares[:, min(int(y * height), height - 1), min(int(x * width), width - 1)]
    return {int(slot): float(here[slot]) for slot in np.argsort(-here, kind='stable')[:count]}


class Viewer:
    """A model, and what is shown of it.

    Args:
        predictor: the model.
        cfg: its config.
        title: of the page.
        ids: the numbers of its data set.

    Attributes:
        library: mmdet, mmseg or mmpretrain.
        blocks: numbers of GLNet's blocks with slots, by stage; of other backbones {}.
        grids: slot grids to choose from. The first, None, is the model's own; models that learned
            their slots have no other.
    """

    def __init__(self, predictor: Predictor, cfg: Config, title: str, ids: KnownIds = NO_IDS):
        self.predictor, self.title = predictor, title
        self.library = library_of(cfg)
        self._cfg, self._ids = cfg, ids
        self._backbone = getattr(predictor.model, 'backbone', None)
        try:
            self.blocks = blocks_of_stages(self._backbone)
        except UserError:
            self.blocks = {}
            self.grids = [None]
            return
        mixers = [part for part in self._backbone.modules() if isinstance(part, GLMix)]
        learned = any(mixer.init_slots is not None for mixer in mixers)
        self.grids = [None] if learned else [None, *GRIDS]

    def predict(self, image: np.ndarray, grid: SlotGrid | None = None) -> BaseDataElement:
        """Return what the model finds in an image, RGB, uint8 (H, W, 3), with a slot grid."""
        return self._with_grid(grid, lambda: self.predictor(image))

    def shares(self, image: np.ndarray, block: int, grid: SlotGrid | None = None) -> np.ndarray:
        """Return the shares of a block's slots in each position, (S, h, w), as ``glmix slots``."""
        inputs = prepare_image(image, self._cfg)
        device = next(self._backbone.parameters()).device

        def run() -> torch.Tensor:
            return slot_assignments(self._backbone, inputs.to(device), [block])[block]

        return self._with_grid(grid, run)[0].cpu().numpy()

    def _with_grid(self, grid, run):
        if grid is None:
            return run()
        own = self._backbone.slot_grid
        try:
            self._backbone.slot_grid = grid
            return run()
        finally:
            self._backbone.slot_grid = own

    def files(
        self, image: np.ndarray, sample: BaseDataElement, name: str, score_thr: float
    ) -> dict[str, bytes]:
        """Return what ``glmix predict`` writes of an image: contents by name, the picture first."""
        stem = name.rpartition('.')[0] or name
        picture = self.predictor.draw(sample, image, score_thr)
        labels = f'{LABEL_MAPS}/{stem}.png' if self.library == 'mmseg' else ''
        files = {f'{stem}.png': to_png(picture)}
        results = Results(self.library, self.predictor.classes, self._ids)
        results.add(sample, name, image.shape[:2], score_thr, labels)
        files['predictions.json'] = json.dumps(results.content).encode()
        if labels:
            files[labels] = to_png(smallest(label_map(sample), len(self.predictor.classes)))
        return files

    def summary(self, sample: BaseDataElement, score_thr: float) -> Sequence[str]:
        """Return the objects or the best classes, in lines."""
        names = self.predictor.classes
        if self.library == 'mmseg':
            return []  # the picture has a legend
        if self.library == 'mmpretrain':
            best = class_results(sample, 1, range(len(names)))
            return [f'{names[entry["category_id"]]}: {entry["score"]:.3f}' for entry in best]
        found = objects_of(sample, len(names))
        found = found[found.scores >= score_thr]
        pairs = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        lines = [f'{names[label]}: {score:.3f}' for label, score in pairs]
        return [f'{len(lines)} found with a score of {score_thr:.2f} or more', *lines]


def to_png(picture: np.ndarray) -> bytes:
    """Return a PNG of a picture, RGB (H, W, 3), or of a label map (H, W), uint8 or uint16."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, 'PNG')
    return data.getvalue()
