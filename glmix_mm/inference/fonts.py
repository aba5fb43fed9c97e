"""Finds a font that has the characters of a text: the one that comes with Pillow is for ASCII."""

import functools
import logging
from pathlib import Path

import matplotlib
from mmengine.logging import print_log
from PIL import ImageFont

COMES_WITH_MATPLOTLIB = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
LAST_RESORT = 'Last Resort'  # matplotlib's font whose every character is a box
ASCII = frozenset(range(33, 127))


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that has all characters of a text.

    ASCII is written in Pillow's own font, other text in DejaVu Sans, which comes with matplotlib,
    or in one of the system's fonts. If no font has all characters, there is one warning, and the
    missing ones are drawn as boxes.

    Args:
        text: what is to be written.
        size: height, pixels.
    """
    if text.isascii():
        return ImageFont.load_default(size)
    others = sorted({character for character in text if not character.isascii()})
    return _load(_file_with(''.join(others)), size)


@functools.cache
def _load(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@functools.cache
def _file_with(others: str) -> Path:
    """Return the file of a font that has some characters besides ASCII."""
    from matplotlib.font_manager import fontManager  # looks through the system's fonts

    upright = [font for font in fontManager.ttflist if font.style == 'normal']
    upright.sort(key=lambda font: font.weight not in (400, 'normal', 'regular'))
    system = [Path(font.fname) for font in upright if LAST_RESORT not in font.name]
    wanted = ASCII.union(ord(character) for character in others if not character.isspace())
    for path in dict.fromkeys([COMES_WITH_MATPLOTLIB, *system]):
        if wanted <= _characters(path):
            return path
    missing = ''.join(map(chr, sorted(wanted - _characters(COMES_WITH_MATPLOTLIB))))
    print_log(
        f'No font here has {missing!r}: pictures show boxes instead, json files have the names. '
        'Install a font that has them (such as Noto Sans CJK for Chinese, Japanese and Korean).',
        logger='current',
        level=logging.WARNING,
    )
    return COMES_WITH_MATPLOTLIB


@functools.cache
def _characters(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        _load(path, 16)  # Pillow takes fewer files, such as none of bitmaps
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
