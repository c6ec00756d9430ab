"""Clips in and out, frame by frame. Sound is not kept, and frames are written at a constant rate."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partswap.errors import ImageError, PartswapError
from partswap.imaging.load import MAX_PIXELS, LoadedImage
from partswap.imaging.opencv import opencv
from partswap.imaging.save import atomic_write

__all__ = ["Clip", "ClipWriter", "open_clip", "write_clip"]

_LOST = 0.9  # of the frames that the file promises: with fewer it is truncated, not merely counted roughly
_RATES = (1.0, 480.0)  # frames a second that are believed; some files claim a rate of thousands
_USUAL = 25.0
_CODECS = {".mkv": "FFV1", ".mp4": "mp4v"}


@dataclass(frozen=True)
class Clip:
    """A clip that can be read.

    path: of the file. fps: frames a second. count: frames that the file promises, 0 where it does not say.
    """

    path: Path
    fps: float
    count: int

    def frames(self) -> Generator[LoadedImage, None, None]:
        """The frames, upright (a phone's rotation is undone), one after another.

        Raises ImageError for a clip that ends long before it should, for one without any frame, and for
        frames above `MAX_PIXELS`.
        """
        capture = _capture(self.path)
        read = 0
        try:
            while True:
                there, bgr = capture.read()
                if not there:
                    break
                read += 1
                if bgr.shape[0] * bgr.shape[1] > MAX_PIXELS:
                    raise ImageError(
                        f"{self.path}: its frames have more than the {MAX_PIXELS:,} pixels allowed"
                    )
                rgb = opencv().cvtColor(bgr, opencv().COLOR_BGR2RGB)
                yield LoadedImage(rgb, None, None, None, str(self.path))
        finally:
            capture.release()
        if read == 0 or read < _LOST * self.count:
            promised = f" of {self.count}" if self.count else ""
            raise ImageError(
                f"{self.path}: the clip ends after {read}{promised} frames; it is truncated or damaged"
            )


def open_clip(path: Path) -> Clip:
    """Look at a clip's head; raises ImageError for what is missing or no clip that OpenCV reads."""
    capture = _capture(path)
    try:
        cv2 = opencv()
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    believed = _RATES[0] <= fps <= _RATES[1]
    return Clip(path, fps if believed else _USUAL, max(0, round(count)) if count < 1e9 else 0)


class ClipWriter:
    """Writes frames to a file that `write_clip` has opened."""

    def __init__(self, path: Path, target: Path, fps: float) -> None:
        """target: what messages call `path`."""
        self._path, self._target, self._fps = path, target, fps
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 (H, W) or (H, W, 3) RGB; all alike. Raises PartswapError if it cannot be."""
        cv2 = opencv()
        if self._writer is None:
            self._open(frame)
        if frame.shape[:2] != self._size:  # few clips change their size on the way
            frame = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_NEAREST)
        # codecs want even sides, and OpenCV would cut the last row or column off
        odd = [(0, side % 2) for side in self._size]
        if frame.ndim == 2:
            self._writer.write(np.pad(frame, odd))
        else:
            self._writer.write(np.pad(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [*odd, (0, 0)], mode="edge"))

    def close(self) -> None:
        """End the file. Raises PartswapError where the disk did not take it."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        # FFmpeg tells nobody that the disk is full: what it wrote cannot be read, or lacks its end
        capture = opencv().VideoCapture(os.fspath(self._path), opencv().CAP_FFMPEG)
        whole = capture.isOpened()
        capture.release()
        if not whole:
            raise PartswapError(f"{self._target}: the clip could not be written whole; is the disk full?")

    def _open(self, frame: np.ndarray) -> None:
        cv2 = _quiet_opencv()
        self._size = (frame.shape[0], frame.shape[1])
        size = tuple(side + side % 2 for side in self._size[::-1])
        code = cv2.VideoWriter_fourcc(*_CODECS[self._path.suffix.lower()])
        colour = [cv2.VIDEOWRITER_PROP_IS_COLOR, int(frame.ndim == 3)]
        self._writer = cv2.VideoWriter(os.fspath(self._path), cv2.CAP_FFMPEG, code, self._fps, size, colour)
        if not self._writer.isOpened():
            raise PartswapError(
                f"{self._target}: this OpenCV cannot write {_CODECS[self._path.suffix.lower()]} clips of "
                f"{size[0]}x{size[1]}; the wheel of opencv-python can: pip install opencv-python"
            )


@contextmanager
def write_clip(path: Path, fps: float, overwrite: bool) -> Iterator[ClipWriter]:
    """Open a clip to write: `.mkv` is lossless (FFV1), `.mp4` is for looking at (MPEG-4).

    The file is there when the block ends well, and whole; else nothing is. Raises as `atomic_write`.
    """
    with atomic_write(path, overwrite=overwrite) as temporary:
        writer = ClipWriter(temporary, path, fps)
        try:
            yield writer
        except BaseException:
            if writer._writer is not None:
                writer._writer.release()
            raise
        writer.close()


def _capture(path: Path) -> Any:
    if not path.is_file():
        raise ImageError(f"{path}: no such file; check the path")
    cv2 = _quiet_opencv()
    capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ImageError(f"{path}: not a clip that can be read, or damaged at its start")
    return capture


def _quiet_opencv() -> Any:
    """OpenCV that leaves the words about bad files to us."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = opencv()
    logging = getattr(cv2.utils, "logging", None)  # not in every build
    if logging is not None:
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    return cv2
