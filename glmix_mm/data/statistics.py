"""What a look at a data set finds besides the mistake that stops a check: notes and problems."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..utils.commands import spelled
from ..utils.image_files import ON_ITS_SIDE, ORIENTATION, decode_image, read_bytes, refuse_endless

HEADERS = 5000  # images whose size is read: about 0.1 ms each
DECODED = 400  # images, or label maps, that are decoded: about 5 ms each
DEEP = 50  # images that may have 16 bits a sample
# Bits of 16; read as 8, 12 bits are at most 15 of 255 and 14 bits at most 63.
DARK, DIM = 12, 14
THREADS = 4  # decoding, and waiting for a disk, lets others work
SIXTEEN = (
    '.png',
    '.tif',
    '.tiff',
    '.pgm',
    '.ppm',
)  # endings of files that can have 16 bits a sample
# What Pillow raises for files that are damaged or no images.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)

Item = TypeVar('Item')
Result = TypeVar('Result')


class DataErrors(UserError):
    """Several mistakes in one data set.

    Attributes:
        problems: a line for each; the message is the first.
    """

    def __init__(self, problems: Sequence[str]):
        rest = f' ({len(problems) - 1} more: {spelled("check-data")})' if len(problems) > 1 else ''
        super().__init__(problems[0] + rest)
        self.problems = list(problems)


@dataclass
class Survey:
    """What was found in one data set.

    Attributes:
        notes: what is worth knowing.
        problems: what has to be fixed.
        images: how many the split uses; None where that is unknown.
        paths: of its images.
        most: largest number of objects in an image.
        of_one: largest number of objects of one class in an image.
    """

    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    images: int | None = None
    paths: list[str] = field(default_factory=list)
    most: int = 0
    of_one: int = 0

    def finish(self, tell: Callable[[str], object]) -> None:
        """Tell the notes.

        Raises:
            DataErrors: there are problems.
        """
        for note in self.notes:
            tell(note)
        if self.problems:
            raise DataErrors(self.problems)


def evenly(items: Sequence[Item], limit: int) -> list[Item]:
    """Return at most ``limit`` items, evenly chosen, the first among them."""
    if len(items) <= limit:
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def of_all(part: int, whole: int) -> str:
    """Say how many were looked at: '400 of 20210' or 'all 12'."""
    return f'all {whole}' if part == whole else f'{part} of {whole}'


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the function's results, in the order of the items."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def read_size(path: str, decode: bool = False) -> tuple[int, int]:
    """Return an image's width and height in pixels, turned as its EXIF orientation says.

    OpenCV, which loads the images for training, turns them in the same way.

    Args:
        path: of the image.
        decode: whether to read its pixels as well, which finds a truncated file.

    Raises:
        UserError: it can't be read.
    """
    refuse_endless(path)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of large images and damaged EXIF
        try:
            with Image.open(path) as image:
                width, height = image.size
                turned = _orientation(image) in ON_ITS_SIDE
        except UNREADABLE as error:
            other = cv2.imread(path) if isinstance(error, UnidentifiedImageError) else None
            if other is not None:  # of a kind that only OpenCV reads
                return other.shape[1], other.shape[0]
            raise UserError(f'{os.path.abspath(path)}: cannot be read ({error})') from error
    if decode:
        _decode(path)
    return (height, width) if turned else (width, height)


def _decode(path: str) -> None:
    """Decode an image as training does, with the same checks.

    Raises:
        UserError: it can't be decoded.
    """
    name = os.path.abspath(path)
    data = read_bytes(name)
    pixels = np.frombuffer(data, np.uint8)
    decode_image(data, name, lambda: cv2.imdecode(pixels, cv2.IMREAD_COLOR))


def _orientation(image: Image.Image) -> int:
    # To look for it behind a PNG's pixels would decode them.
    known = image.format != 'PNG' or 'exif' in image.info
    if image.format == 'TIFF':  # which Pillow itself turns
        return 1
    return image.getexif().get(ORIENTATION, 1) if known else 1


def survey_depth(survey: Survey, paths: Sequence[str]) -> None:
    """Look whether images of 16 bits a sample use them: cameras and microscopes write 10 to 14.

    Training keeps the upper 8 of 16 bits, of which 12 bits leave 4. What was found is added.

    Args:
        survey: of the images.
        paths: of the images, of which a few are read.
    """
    paths = evenly([path for path in paths if path.lower().endswith(SIXTEEN)], DEEP)
    read = in_threads(lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED), paths)
    tops = [int(pixels.max()) for pixels in read if pixels is not None and pixels.dtype == 'uint16']
    bits = max(tops, default=2**16 - 1).bit_length()
    if bits > DIM:
        return
    text = (
        f'images such as {os.path.abspath(paths[0])} have 16 bits, but no value of the {len(tops)} '
        f'looked at is above {max(tops)}, so they hold {bits} bits; training reads the upper 8 of '
        f'16, at most {max(tops) >> 8} of 255 here: multiply the values by {2 ** (16 - bits)}, or '
        'save images of 8 bits'
    )
    if bits > DARK:
        survey.notes.append(f'warning: {text}')
    else:
        survey.problems.append(text)


def survey_images(
    folder: str, names: Sequence[str], sizes: Mapping[str, tuple[int, int]] | None = None
) -> Survey:
    """Look whether images can be read and have the sizes that are stated.

    Args:
        folder: where they are.
        names: their paths below it.
        sizes: width and height by name.
    """
    survey = Survey()
    headers, decoded = evenly(names, HEADERS), set(evenly(names, DECODED))

    def look(name: str) -> tuple[int, int] | UserError:
        try:
            return read_size(os.path.join(folder, name), decode=name in decoded)
        except UserError as error:
            return error

    found = dict(zip(headers, in_threads(look, headers), strict=True))
    broken = [result for result in found.values() if isinstance(result, UserError)]
    if broken:
        survey.problems.append(
            f'{len(broken)} of the {len(headers)} images looked at cannot be read, the first: '
            f'{broken[0]}; copy them again, or remove them from the data set'
        )
    survey.notes.append(
        f'{of_all(len(headers), len(names))} images opened, {of_all(len(decoded), len(names))} '
        'decoded'
    )
    survey_depth(survey, [os.path.join(folder, name) for name in names])
    good = {name: size for name, size in found.items() if not isinstance(size, UserError)}
    wrong = [name for name, size in good.items() if sizes and sizes[name] != size]
    if wrong:
        first = wrong[0]
        (width, height), stated = good[first], sizes[first]
        turned = stated == (height, width)
        reason = (
            'the annotations were made before the image was turned as its EXIF data say'
            if turned
            else 'the annotations belong to another copy of the image, before it was resized'
        )
        survey.problems.append(
            f'{len(wrong)} of the {len(headers)} images looked at differ from their stated size, '
            f'the first: {first} is {width} x {height}, stated as {stated[0]} x {stated[1]} '
            f'(perhaps {reason}); correct width and height, and the boxes with them'
        )
    return survey
