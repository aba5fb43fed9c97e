"""Reads a file of the names of classes, such as classes.txt beside label maps."""

import re
from pathlib import Path

from ..errors import UserError
from .paths import read_lines

# A line of classes.txt with a colour.
RGB = r'(?P<r>\d{1,3})[\s,]+(?P<g>\d{1,3})[\s,]+(?P<b>\d{1,3})'
COLOUR_FIRST = re.compile(rf'{RGB}[\s,]+(?P<name>.*\S)')
COLOUR_LAST = re.compile(rf'(?P<name>.*[^\s,])[\s,]+{RGB}')


def read_class_file(path: Path) -> tuple[list[str], list[tuple[int, int, int]] | None]:
    """Read the names of classes, one name per line, and their colours if each line has one.

    A colour is red, green and blue from 0 to 255, before the name or after it: ``128 0 0 building``
    (CamVid's label_colors.txt) or ``building 128 0 0``, with commas or without.

    Raises:
        UserError: a name is there twice, or a number of a colour is above 255.
    """
    # Some editors begin a file with a byte order mark.
    lines = [line.removeprefix('\ufeff') for line in read_lines(str(path))]
    matches = [COLOUR_FIRST.fullmatch(line) or COLOUR_LAST.fullmatch(line) for line in lines]
    colours = None
    if lines and all(matches):
        lines = [match['name'] for match in matches]
        colours = [tuple(int(match[part]) for part in 'rgb') for match in matches]
        wrong = [name for name, rgb in zip(lines, colours, strict=True) if max(rgb) > 255]
        if wrong:
            raise UserError(f'{path.absolute()}: the colour of {wrong[0]!r} has a value above 255')
    if len(set(lines)) < len(lines):
        raise UserError(f'{path.absolute()}: names a class twice; expected one name per line')
    return lines, colours
