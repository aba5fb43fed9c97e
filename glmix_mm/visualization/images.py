"""The images that a command line names: finding, reading and naming them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

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


def read_image(path: Path) -> np.ndarray:
    """Read an image as the data pipelines do, turned upright by its EXIF record.

    Returns:
        RGB, uint8 (H, W, 3).

    Raises:
        UserError: there is no such file, or it is no image or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path}: {error.strerror}') from error
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise UserError(f'{path}: not a readable image ({len(data):,} bytes)')
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


def report_failures(failures: Sequence[str], count: int) -> None:
    """End with an error if images had to be skipped.

    Raises:
        UserError: there are failures; each was reported when it happened.
    """
    if failures:
        raise UserError(
            f'{len(failures)} of {count} images could not be read: {", ".join(failures)}; '
            'the others are done'
        )
