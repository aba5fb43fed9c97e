"""Loads label maps for mmseg, and refuses those that do not fit the image or the classes."""

import numpy as np
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations

from ..utils.image_files import decode_image, read_bytes
from .checked_loading import IGNORED, check_header, check_labels


@TRANSFORMS.register_module()
class CheckedLoadLabels(LoadAnnotations):
    """mmseg's ``LoadAnnotations``, which refuses label maps that mmseg would change or misread.

    mmseg cuts labels above 255 to a byte, and crops a map whose size is not that of its image.

    Args:
        num_classes: number of classes of the dataset; None to accept any label.
        ignore_index: the label that is ignored; by default 255.
        **kwargs: as mmseg's.

    Raises:
        UserError: when a map is loaded that is damaged, of another size than its image, or holds
            other labels.
    """

    def __init__(self, num_classes: int | None = None, ignore_index: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.ignore_index = IGNORED if ignore_index is None else ignore_index

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        data = read_bytes(path, self.backend_args)

        def decode() -> np.ndarray:
            super(CheckedLoadLabels, self)._load_seg_map(results)
            return results['gt_seg_map']

        check_header(data, path)
        labels = decode_image(data, path, decode)
        check_labels(labels, path, results, self.num_classes, self.ignore_index)
