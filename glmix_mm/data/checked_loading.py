"""Checks of images and label maps as they are loaded, and the loading of images with them.

If mmcv cannot read a file, its error states little more than the name. mmdet trusts the size that
an annotation file states. mmseg cuts labels above 255 to a byte, and crops a label map whose size
is not that of its image.
"""

import io

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from PIL import Image

from ..config.ignored_label import IGNORED
from ..errors import UserError
from ..utils.image_files import decode_image, read_bytes

LARGEST = 255  # label, of a byte
WIDE = ('I', 'F')  # Pillow's modes of more than a byte per pixel


@TRANSFORMS.register_module()
class CheckedLoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which refuses damaged files and sizes that do not fit.

    It has the same arguments. With ``ignore_empty`` or ``file_client_args`` it behaves as mmcv's.

    Raises:
        UserError: when an image is loaded that is missing, damaged, too large, or not of the size
            that its annotations state.
    """

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``."""
        if self.ignore_empty or self.file_client_args is not None:  # the user's own handling
            return super().transform(results)
        path = results['img_path']
        data = read_bytes(path, self.backend_args)

        def decode() -> np.ndarray | None:
            return mmcv.imfrombytes(data, flag=self.color_type, backend=self.imdecode_backend)

        image = decode_image(data, path, decode)
        check_size(results, image.shape[:2])
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def check_size(results: dict, found: tuple[int, int]) -> None:
    """Compare an image's size with the one that its annotations are for, if they state one.

    Args:
        results: of a data set; ``height`` and ``width`` in pixels.
        found: height and width of the image, turned upright by its EXIF record as mmcv does.

    Raises:
        UserError: they differ.
    """
    stated = (results.get('height'), results.get('width'))
    if None in stated or stated == tuple(found):
        return
    reason = 'correct the annotations, or give the image that they were made for'
    if stated == tuple(found)[::-1]:
        reason = (
            'images are turned upright by their EXIF record; if the annotations were drawn on the '
            "image as it is stored, set color_type='color_ignore_orientation' of LoadImageFromFile"
        )
    raise UserError(
        f'{results["img_path"]}: is {found[1]} x {found[0]} px, but its annotations are for '
        f'{stated[1]} x {stated[0]} px; {reason}'
    )


def check_header(data: bytes, path: str) -> None:
    """Check what mmseg changes without a word as it reads a label map.

    Raises:
        UserError: a number does not fit into a byte, the map is a single row or column, or its
            format changes numbers.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, kind = image.size, image.format
            labels = np.asarray(image) if image.mode.startswith(WIDE) else np.zeros(1)
    except Exception:  # decoding it will tell
        return
    if 1 in size:
        raise UserError(
            f'{path}: is {size[0]} x {size[1]} px; label maps need two rows and columns'
        )
    if kind == 'JPEG':
        raise UserError(f'{path}: is a JPEG, whose compression changes labels; use PNG')
    strange = labels[~((labels >= 0) & (labels <= LARGEST) & (labels % 1 == 0))]  # NaN as well
    if strange.size:
        raise UserError(
            f'{path}: has label {strange.max()}; label maps hold one byte per pixel, so whole '
            f'numbers from 0 to {LARGEST}'
        )


def check_labels(
    labels: np.ndarray, path: str, results: dict, count: int | None, ignored: int = IGNORED
) -> None:
    """Check a label map against its image and the number of classes.

    Args:
        labels: the numbers of the classes, as the losses take them, (H, W).
        path: the file, for messages.
        results: of the data set, with the image if that is loaded.
        count: the number of classes; None if unknown.
        ignored: the label that is no class.

    Raises:
        UserError: its size is another, or a label is out of range.
    """
    shape = results.get('ori_shape', labels.shape)
    if labels.shape != tuple(shape[:2]):
        size = ' x '.join(str(n) for n in labels.shape[::-1])
        raise UserError(
            f'{path}: is {size} px, but its image {results.get("img_path")} is {shape[1]} x '
            f"{shape[0]} px (upright); a label map needs its image's size and one channel"
        )
    if count is None:
        return
    strange = np.unique(labels[(labels >= count) & (labels != ignored)])
    if len(strange):
        shift = 1 if results.get('reduce_zero_label') else 0
        raise UserError(
            f'{path}: has label {strange[0] + shift}, expected {shift} to {count - 1 + shift} for '
            f'{count} classes or {ignored} (ignored)'
        )
