"""The images that a command line names: finding, reading and naming them."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from .atomic_files import write_atomically
from .image_files import decode_image, read_bytes
from .messages import one_line
from .videos import is_video

ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')


def find_images(names: Sequence[str]) -> list[Path]:
    """Return the files that are named, and those of folders that end like images, in order.

    Raises:
        UserError: a folder has none, or a name is given twice.
    """
    paths = []
    for path in (Path(name).expanduser() for name in names):
        if not path.is_dir():
            paths.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
        if not inside:
            raise UserError(f'{path.absolute()}: no images in this folder ({", ".join(ENDINGS)})')
        paths += inside
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise UserError(f'{", ".join(twice)}: named more than once; name each image once')
    return paths


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as the data pipelines do, turned upright by its EXIF record.

    Args:
        path: of a file, or an address that mmengine knows to read, as http(s).

    Returns:
        RGB, uint8 (H, W, 3).

    Raises:
        UserError: there is no such file, or it is no image, damaged, or too large.
    """
    return decode_rgb(read_bytes(str(path)), path)


def decode_rgb(data: bytes, source: str | Path) -> np.ndarray:
    """Do as :func:`read_image` does, with a file's content; ``source`` names it in messages."""
    pixels = np.frombuffer(data, np.uint8)
    image = decode_image(data, source, lambda: cv2.imdecode(pixels, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(image[..., ::-1])


def output_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for what is written of each image: its stem, numbered where stems repeat."""
    names: list[str] = []
    for path in paths:
        name, number = path.stem, 2
        while name in names:
            name, number = f'{path.stem}_{number}', number + 1
        names.append(name)
    return names


def for_each(paths: Sequence[Path], work: Callable[[Path, str], None]) -> None:
    """Call ``work(path, name)`` for each image; one that cannot be used is reported and skipped.

    Args:
        paths: of the images.
        work: takes a path and the name of :func:`output_names` for it; raises a ``UserError`` for
            an image that cannot be used.

    Raises:
        UserError: a file could not be written; or, once all others are done, images were skipped.
    """
    failed = []
    for path, name in zip(paths, output_names(paths), strict=True):
        try:
            work(path, name)
        except UserError as error:
            reason = one_line(error)
            named = reason if str(path) in reason else f'{path}: {reason}'
            print(f'skipped: {named}', file=sys.stderr, flush=True)
            failed.append(str(path))
        except OSError as error:  # not of the image: read_image raises UserError
            raise UserError(f'{error.filename} cannot be written: {error.strerror}') from error
    if failed:
        kinds = 'images or videos' if any(map(is_video, paths)) else 'images'
        raise UserError(f'{len(failed)} of {len(paths)} {kinds} were skipped: {", ".join(failed)}')


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture (H, W, 3) or a map of numbers (H, W), uint8 or uint16.

    Raises:
        OSError: it cannot be written.
    """
    save_picture(path, picture, '.png')


def save_picture(path: Path, picture: np.ndarray, ending: str) -> None:
    """Do as :func:`save_png` does, in the format of an ending, such as '.jpg'."""
    _, data = cv2.imencode(ending, picture if picture.ndim == 2 else picture[..., ::-1])
    write_atomically(path, data.tobytes())
