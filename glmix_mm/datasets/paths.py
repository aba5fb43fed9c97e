"""Where a data set should lie, and how to say what is missing there."""

import os
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


@dataclass(frozen=True)
class Place:
    """The folder of one split's data set.

    Attributes:
        split: 'train', 'val' or 'test', for the messages.
        root: the data set's ``data_root``; None or '' where its paths stand for themselves.
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

    def require_folder(self, folder: str, layout: str = f'{COCO_LAYOUT} for COCO; {ADE_LAYOUT}'):
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
    except (FileNotFoundError, NotADirectoryError):
        return set()


def some(names: Iterable[str], limit: int = 5) -> str:
    """Return the first few names, quoted, and how many more there are."""
    names = list(names)
    shown = ', '.join(repr(name) for name in names[:limit])
    return shown + (f' and {len(names) - limit} more' if len(names) > limit else '')
