"""From a path, bytes or a stream to a Pillow image that is not decoded yet, without trusting any of them."""

from __future__ import annotations

import functools
import io
import os
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from partswap.errors import ImageError

__all__ = ["MAX_PIXELS", "ImageSource", "check_size", "opened", "read_bounded"]

MAX_PIXELS = 200_000_000
"""Largest photo that is decoded, in pixels; anything larger is taken for a decompression bomb."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
"""Pillow's names of the formats that are opened; none runs code (as EPS does) or reads other files."""

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

_PATIENCE = 3.0  # seconds for somebody to begin writing to a named pipe
_MAX_STREAM = 2 << 30  # bytes: more than a photo of MAX_PIXELS has at 16 bits a channel, uncompressed
_FREE_SCANS = 30  # of a progressive JPEG; encoders write ten or so
_MAX_SCANNED = 4_000_000_000  # pixels x scans: decoding costs a pass over all pixels for every scan
_pillow_limit_lock = threading.Lock()


@contextmanager
def opened(source: ImageSource, ceiling: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield the undecoded Pillow image and its name; closes what was opened here and only that."""
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "<image>")
        check_size(source.width, source.height, ceiling, name)
        yield source, name
        return
    if isinstance(source, bytes | bytearray | memoryview):
        stream, name = io.BytesIO(source), "<bytes>"
    elif isinstance(source, str | os.PathLike):
        stream, name = _open_path(Path(source)), str(source)
    elif not isinstance(source, np.ndarray) and hasattr(source, "read"):
        stream, name = io.BytesIO(read_bounded(source, "<stream>")), "<stream>"
    else:
        raise ImageError(
            f"a {type(source).__name__} is not an image; "
            "give a path, bytes, a binary stream, a Pillow image or a uint8 array"
        )
    with stream, _identified(stream, name, ceiling) as image:
        check_size(image.width, image.height, ceiling, name)
        _check_scans(image, stream, name)
        yield image, name


def read_bounded(stream: BinaryIO, name: str) -> bytes:
    """All that a stream gives; ImageError if it is more than any photo, since it may never end."""
    blocks, size = [], 0
    while block := stream.read(1 << 20):
        blocks.append(block)
        size += len(block)
        if size > _MAX_STREAM:
            raise ImageError(f"{name}: more than {_MAX_STREAM >> 30} GiB came in, which is no photo")
    return b"".join(blocks)


def _open_path(path: Path) -> io.BytesIO:
    """Open a file; the return type is what Pillow needs of it: ``read``, ``seek``, ``tell``."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: is a folder, not an image")
        if stat.S_ISFIFO(mode):  # a pipe (`<(command)` in a shell) cannot seek, which decoders need
            return io.BytesIO(_read_pipe(path))
        if not stat.S_ISREG(mode):  # a terminal would wait for keys, and other devices never end
            raise ImageError(f"{path}: is a device or a socket, not an image")
        return open(path, "rb")  # type: ignore[return-value]
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: the file could not be opened ({reason})") from error


def _read_pipe(path: Path) -> bytes:
    """All that somebody writes to a named pipe; ImageError if nobody has begun to after some seconds."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as stream:
        until = time.monotonic() + _PATIENCE
        while (
            not (begun := stream.read(1 << 16)) and begun is not None
        ):  # None: open for writing, no data yet
            if time.monotonic() > until:
                raise ImageError(f"{path}: nothing is written to this pipe; check what should write to it")
            time.sleep(0.01)
        os.set_blocking(stream.fileno(), True)
        return (begun or b"") + read_bounded(stream, str(path))


def _identified(stream: io.BytesIO, name: str, ceiling: int) -> Image.Image:
    # Pillow's own ceiling is a global below ours, and the host program's: it is moved for this call only
    with _pillow_limit_lock, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # ours is an error, raised by the caller
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, ceiling
        try:
            return Image.open(stream, formats=_formats())
        except Image.DecompressionBombError as error:
            raise ImageError(_too_large(name, ceiling)) from error
        except UnidentifiedImageError as error:
            raise ImageError(_not_an_image(stream, name)) from error
        except Exception as error:  # decoders meet hostile bytes here, and raise whatever comes to hand
            raise ImageError(f"{name}: the file is damaged and could not be read ({error})") from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(form for form in FORMATS if form in Image.OPEN)  # Pillow may be built without some of them


def _not_an_image(stream: io.BytesIO, name: str) -> str:
    stream.seek(0)
    head = stream.read(16)
    if not head:
        return f"{name}: the file is empty"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis"):
        return f"{name}: HEIC photos are not supported; save it as JPEG or PNG first"
    return (
        f"{name}: not an image, or damaged at its start "
        "(formats read: JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, PPM, JPEG 2000)"
    )


def check_size(width: int, height: int, ceiling: int, name: str) -> None:
    """Raises ImageError for a picture without pixels, or with more than the ceiling."""
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image is empty ({width} x {height} pixels)")
    if width * height > ceiling:
        raise ImageError(_too_large(name, ceiling, f" ({width} x {height})"))


def _check_scans(image: Image.Image, stream: io.BytesIO, name: str) -> None:
    """A JPEG may hold any number of scans, a few bytes each; decoding goes over the whole picture for every
    one, so that a small file can keep a machine busy for hours. Raises ImageError for such a file."""
    if image.format not in ("JPEG", "MPO"):
        return
    allowed = max(_FREE_SCANS, _MAX_SCANNED // (image.width * image.height))
    at = stream.tell()
    stream.seek(0)
    scans = 0
    while scans <= allowed and (block := stream.read(1 << 20)):
        scans += block.count(b"\xff\xda")  # one that lies across two blocks may be missed: this is a bound
    stream.seek(at)
    if scans > allowed:
        raise ImageError(
            f"{name}: this JPEG of {image.width} x {image.height} pixels holds more than {allowed} scans, "
            "which only keeps decoders busy; save it anew"
        )


def _too_large(name: str, ceiling: int, size: str = "") -> str:
    return f"{name}: the image{size} has more than the {ceiling:,} pixels allowed; make it smaller first"
