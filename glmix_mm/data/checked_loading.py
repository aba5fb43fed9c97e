"""Lets mmcv and mmseg refuse images and label maps that they would misread or stop at in a crash.

mmcv stops at a file that it can't read with little more than its name, and mmdet trusts the size
that an annotation file states; mmseg cuts labels above 255 down to a byte and crops a label map of
another size than its image.
"""

import io

import numpy as np
from PIL import Image

from ..config.ignored_label import IGNORED
from ..errors import UserError
from ..utils.image_files import decode_image, read_bytes

LARGEST = 255  # label, of a byte
WIDE = ('I', 'F')  # Pillow's modes of more than a byte a pixel
# The keys under which a data set tells the loading of labels its classes and what is ignored.
COUNT, IGNORE = 'class_count', 'ignore_index'


def patch_images(module) -> None:
    """Let mmcv's ``LoadImageFromFile`` refuse damaged files by name."""
    kind = module.LoadImageFromFile
    original = kind.transform
    if getattr(original, 'knows_glmix_mm', False):
        return

    def transform(self, results: dict) -> dict | None:
        if self.ignore_empty or self.file_client_args is not None:  # the user's own handling
            return original(self, results)
        path = results['img_path']
        data = read_bytes(path, self.backend_args)

        def decode():
            return module.mmcv.imfrombytes(
                data, flag=self.color_type, backend=self.imdecode_backend
            )

        image = decode_image(data, path, decode)
        check_size(results, image.shape[:2])
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    transform.knows_glmix_mm = True
    kind.transform = transform


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


def patch_label_maps(module) -> None:
    """Let mmseg's ``LoadAnnotations`` refuse maps that do not fit the image or the classes."""
    kind = module.LoadAnnotations
    original = kind._load_seg_map
    if getattr(original, 'knows_glmix_mm', False):
        return

    def load_label_map(self, results: dict) -> None:
        path = results['seg_map_path']
        data = read_bytes(path, self.backend_args)

        def decode():
            original(self, results)
            return results['gt_seg_map']

        check_header(data, path)
        check_labels(decode_image(data, path, decode), path, results)

    load_label_map.knows_glmix_mm = True
    kind._load_seg_map = load_label_map


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
            f'{path}: is {size[0]} x {size[1]} px; label maps need two rows and two columns'
        )
    if kind == 'JPEG':
        raise UserError(f'{path}: is a JPEG, which does not keep labels as they were; use PNG')
    strange = labels[~((labels >= 0) & (labels <= LARGEST) & (labels % 1 == 0))]  # NaN as well
    if strange.size:
        raise UserError(
            f'{path}: has label {strange.max()}; label maps hold one byte a pixel, so whole '
            f'numbers from 0 to {LARGEST}'
        )


def check_labels(labels: np.ndarray, path: str, results: dict) -> None:
    """Check a label map against its image and the number of classes.

    Args:
        labels: the numbers of the classes, as the losses take them, (H, W).
        path: the file, for messages.
        results: of the data set, with the image if that is loaded.

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
    count = results.get(COUNT)
    if count is None:
        return
    ignored = results.get(IGNORE, IGNORED)
    strange = np.unique(labels[(labels >= count) & (labels != ignored)])
    if len(strange):
        shift = 1 if results.get('reduce_zero_label') else 0
        raise UserError(
            f'{path}: has label {strange[0] + shift}, expected {shift} to {count - 1 + shift} for '
            f'{count} classes or {ignored} (ignored)'
        )


def patch_segmentation_sets(module) -> None:
    """Let mmseg's data sets tell the loading of labels how many classes there are."""
    kind = module.BaseSegDataset
    original = kind.get_data_info
    if getattr(original, 'knows_glmix_mm', False):
        return

    def get_data_info(self, idx: int) -> dict:
        info = original(self, idx)
        classes = self._metainfo.get('classes')
        if classes:
            info[COUNT], info[IGNORE] = len(classes), self.ignore_index
        return info

    get_data_info.knows_glmix_mm = True
    kind.get_data_info = get_data_info


def patch_flip(module) -> None:
    """Let mmcv's ``imflip`` return images that torch takes also where a side has one pixel.

    numpy calls a flipped column contiguous, so it is not copied, but torch refuses its stride.
    """
    original = module.imflip
    if getattr(original, 'knows_glmix_mm', False):
        return

    def imflip(img: np.ndarray, direction: str = 'horizontal') -> np.ndarray:
        flipped = original(img, direction)
        return flipped.copy() if 1 in flipped.shape[:2] else flipped

    imflip.knows_glmix_mm = True
    module.imflip = imflip


PATCHES = {
    'mmcv.image.geometric': patch_flip,
    'mmcv.transforms.loading': patch_images,
    'mmseg.datasets.transforms.loading': patch_label_maps,
    'mmseg.datasets.basesegdataset': patch_segmentation_sets,
}
