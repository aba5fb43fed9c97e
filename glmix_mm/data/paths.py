"""Where a data set should lie, and how to say what is missing there."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

COCO_LAYOUT = (
    'annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/, val2017/'
)
ADE_LAYOUT = (
    'images/training/, images/validation/, annotations/training/, annotations/validation/ '
    '(ADEChallengeData2016)'
)
IMAGENET_LAYOUT = (
    'train/CLASS/*.JPEG, val/CLASS/*.JPEG (or val/*.JPEG with the labels in meta/val.txt)'
)
LAYOUTS = f'{COCO_LAYOUT} for COCO; {ADE_LAYOUT}; {IMAGENET_LAYOUT} for ImageNet'


@dataclass(frozen=True)
class Place:
    """The folder of one split's data set.

    Attributes:
        split: 'train', 'val' or 'test', for the messages.
        root: the data set's ``data_root``; None or '' where its paths are complete.
    """

    split: str
    root: str | None

    def require_root(self) -> None:
        """Check that the folder is there and holds something.

        Raises:
            UserError: it is missing, a file, or empty.
        """
        if self.root:
            self.require_folder(self.root)

    def require_folder(self, folder: str, layout: str = LAYOUTS):
        """Check that ``folder`` is there and holds something.

        Args:
            folder: its path.
            layout: what is expected under the data set's root, for the message.

        Raises:
            UserError: it is missing, a file, or empty.
        """
        if not os.path.isdir(folder):
            state = 'is a file, not a folder' if os.path.exists(folder) else 'is missing'
            raise self.missing(folder, state, layout)
        with os.scandir(folder) as entries:
            if next(entries, None) is None:
                raise self.missing(folder, 'is empty', layout)

    def missing(self, path: str, state: str, layout: str) -> UserError:
        """Return the error for a folder or file that is not as it should be."""
        return UserError(
            f'{self.split} data: {Path(path).absolute()} {state}; expected under '
            f'{Path(self.root or ".").absolute()}: {layout}; give the folder that holds them with '
            '--data-root DIR'
        )


def file_names(folder: str) -> set[str]:
    """Return the names in a folder; one listing is faster than asking for each of many files."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:  # none of this name, or a name that none can have
        return set()


def read_lines(path: str) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises:
        UserError: it is no text in UTF-8.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path}: is not text in UTF-8 (byte {error.start}); save it as UTF-8, one entry '
            'per line'
        ) from error


def require_images(
    source: str, folder: str, names: Iterable[str], fix: str, what: str = 'images'
) -> None:
    """Check that all images of a list are in their folder, by one listing of each folder.

    Args:
        source: what lists them, for the message.
        folder: where they should be.
        names: their paths below the folder.
        fix: what else could be done than copying them there, for the message.
        what: what they are, for the message.

    Raises:
        UserError: some are not there.
    """
    wanted = defaultdict(list)
    for name in names:
        wanted[os.path.dirname(name)].append(name)
    present = {part: file_names(os.path.join(folder, part)) for part in wanted}
    missing = [
        name
        for part, members in wanted.items()
        for name in members
        if os.path.basename(name) not in present[part]
    ]
    if missing:
        total = sum(map(len, wanted.values()))
        fix = with_slashes(source, missing[0]) or f'copy them there, or {fix}'
        raise UserError(
            f'{source}: {len(missing)} of its {total} {what} are not in '
            f'{os.path.abspath(folder)}, the first is {missing[0]}; {fix}'
        )


def with_slashes(source: str, name: str) -> str:
    """Say how to write a json's paths with slashes, if a name in it has Windows' backslashes."""
    if '\\' not in name:
        return ''
    return (
        "it has Windows' backslashes, where paths need '/': sed -i.bak 's|"
        rf"\\\\|/|g' {source} replaces them and keeps the old file"
    )
