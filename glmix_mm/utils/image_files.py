"""Decodes images that may be damaged, or made to exhaust the memory: in full or not at all.

OpenCV decodes whatever number of pixels a header claims, and before its version 5 it fills in what
a truncated JPEG lacks with grey and says nothing.
"""

import io
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import mmengine.fileio as fileio
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UserError

MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS  # 179 million, where Pillow itself refuses
ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap the sides
PNG_START, JPEG_START = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
JPEG_SCAN, JPEG_END = b'\xff\xda', b'\xff\xd9'  # start of the compressed data; end of the image


def decode_image(
    data: bytes, source: str | Path, decode: Callable[[], np.ndarray | None]
) -> np.ndarray:
    """Decode an image after checking that it is whole and of a reasonable size.

    What can't be noticed is a changed byte within a JPEG's compressed data: JPEG has no checksum.

    Args:
        data: the file's content.
        source: the file, for messages.
        decode: decodes the content; returns None, or raises anything, if it can't.

    Returns:
        What ``decode`` returns.

    Raises:
        UserError: it is no image, damaged or truncated, or has more than ``MAX_PIXELS`` pixels.
    """
    if not data:
        raise UserError(f'{source}: is empty; expected an image')
    damage = find_damage(data, source)
    try:
        image = None if damage else decode()
    except Exception as error:  # OpenCV and Pillow raise many kinds for a broken file
        damage = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        image = None
    if image is None:
        reason = f': {damage}' if damage else ''
        raise UserError(
            f'{source}: not a readable image ({len(data):,} bytes){reason}; copy it again or '
            'leave it out'
        )
    return image


def refuse_endless(path: str | Path) -> None:
    """Refuse what is no file: reading a pipe may wait forever, and a device may never end.

    Raises:
        UserError: the path is of such a thing. One that is not there passes.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UserError(f'{path}: is a pipe or a device; expected a file')


def find_damage(data: bytes, source: str | Path) -> str:
    """Return what is wrong with an image file, or '' if nothing is seen without decoding it.

    Raises:
        UserError: it has more than ``MAX_PIXELS`` pixels.
    """
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise UserError(
            f'{source}: claims more than {MAX_PIXELS:,} pixels in {len(data):,} bytes, too many to '
            'decode; cut it up or scale it down'
        ) from None
    except UnidentifiedImageError:
        # OpenCV knows formats that Pillow doesn't; but of these two Pillow finds what is wrong.
        return 'damaged' if data.startswith((PNG_START, JPEG_START)) else ''
    except Exception as error:  # such as a text in it that unpacks to gigabytes
        return f'refused by Pillow ({error})'
    if image.format in ('JPEG', 'MPO'):
        whole = data.rfind(JPEG_END) > data.rfind(JPEG_SCAN)  # thumbnails in the header end as well
        return '' if whole else 'truncated, its end is missing'
    if image.format != 'PNG':
        return ''
    try:
        image.verify()  # compares the checksums of its parts
    except Exception as error:
        return f'damaged ({error})'
    return ''


def read_bytes(path: str, backend_args: dict | None = None) -> bytes:
    """Read a file of a data set, or from an address.

    Raises:
        UserError: it can't be read.
    """
    try:
        refuse_endless(path)
        return fileio.get(path, backend_args=backend_args)
    except KeyError as error:  # mmengine's backends, by their prefixes
        raise UserError(f'{path}: URLs that start with {error} are not supported') from error
    # The last two where a server breaks off, and where a name holds what none can.
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f'{path}: {getattr(error, "strerror", None) or error}') from error
