"""Reading and writing videos with OpenCV."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

ENDINGS = ('.mp4', '.m4v', '.avi', '.mov', '.mkv', '.webm', '.mpg', '.mpeg')
CODEC = 'mp4v'  # MPEG-4 part 2, which every build of OpenCV can write
FRAMES_PER_SECOND = 25.0  # of a video that does not say
COMPLETE = 0.95  # a file's own count of its frames may be a little off


def is_video(path: Path) -> bool:
    """Return whether a file's name ends like a video's."""
    return path.suffix.lower() in ENDINGS


class Video:
    """A video file to be read once, from its first frame to its last.

    Args:
        path: of the file.

    Attributes:
        frames_per_second: as the file says.
        stated: how many frames the file says it has.
        found: how many were read.

    Raises:
        UserError: there is no such file, or it is no video.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise UserError(f'{path}: no such file')
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError(f'{path}: not a readable video ({path.stat().st_size:,} bytes)')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if 0 < rate < 1000 else FRAMES_PER_SECOND
        self.stated, self.found = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames that can be read, BGR, uint8 (H, W, 3)."""
        try:
            while (frame := self._capture.read()[1]) is not None:
                self.found += 1
                yield frame
        finally:
            self._capture.release()

    def check_complete(self) -> None:
        """Find out, once all frames are read, whether they are those that the file says it has.

        Raises:
            UserError: there were none, or many fewer.
        """
        if not self.found:
            raise UserError(f'{self.path}: no frame of this video can be read')
        if self.found < COMPLETE * self.stated:
            raise UserError(
                f'{self.path}: the video ends early: {self.found} of {self.stated:.0f} frames '
                'can be read'
            )


@contextmanager
def video_writer(path: Path, frames_per_second: float) -> Iterator['_Writer']:
    """Give something whose ``write`` takes RGB frames; the file appears when all are written.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.stem}.partial{path.suffix}')
    writer = _Writer(partial, frames_per_second)
    try:
        yield writer
        writer.close()
        if writer.frames:
            os.replace(partial, path)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)


class _Writer:
    def __init__(self, path: Path, frames_per_second: float):
        self.path, self.frames_per_second, self.frames = path, frames_per_second, 0
        self._writer = None

    def write(self, frame: np.ndarray) -> None:
        """Add an RGB frame, uint8 (H, W, 3), of the same size as all others."""
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*CODEC)
            size = frame.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self.path), code, self.frames_per_second, size)
            if not self._writer.isOpened():
                raise OSError(None, 'OpenCV cannot write a video there', str(self.path))
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))
        self.frames += 1

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
