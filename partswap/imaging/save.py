"""Files that are whole or not there.

Everything is written under a temporary name in the same folder, flushed to the disk and renamed, so that a
crash, a full disk or Ctrl-C never leaves half a file, and a reader never sees one. Nothing that exists is
replaced unless asked.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from partswap.errors import PartswapError, UsageError

__all__ = [
    "atomic_write",
    "clear_left_overs",
    "is_left_over",
    "refuse_existing",
    "save_image",
    "save_json",
    "save_label_map",
]

_LEFT_OVER = re.compile(r"\.partswap-[0-9a-f]{12}\.tmp(\..*)?")
_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".ppm": "PPM",
}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
_WITH_ALPHA = ("PNG", "WEBP", "TIFF")
_PNG_LEVEL = 1  # of pictures: a photo takes a quarter of the time of zlib's 6 for a ninth more bytes
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_ABOUT_WRITING = (*_DISK_FULL, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends well, that file becomes ``path`` in one step.

    The temporary file lies in the same folder, is hidden and has the same suffix. Missing folders are made.
    Whatever goes wrong, ``KeyboardInterrupt`` included, the temporary file and the folders made here are
    removed and an older file at ``path`` stays as it was.

    Args:
        path: the file to write.
        overwrite: False refuses to replace a file, also one that appeared while the block ran.

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is False, or ``path`` is a folder.
        PartswapError: the disk is full, or the place may not be written to. Other errors of the block pass
            through.
    """
    target = Path(path)
    refuse_existing(target, overwrite)
    temporary = target.with_name(f".partswap-{secrets.token_hex(6)}.tmp{target.suffix}")
    made: list[Path] = []
    try:
        with _sentences(target):
            _make_folders(target.parent, made)
            # not tempfile.mkstemp: its 0600 would outlive the rename; O_EXCL, so that nothing waiting there
            # is followed
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with _sentences(target, only=_ABOUT_WRITING):
            yield temporary
        with _sentences(target):
            _flush(temporary)
            _rename(temporary, target, overwrite)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        for folder in reversed(made):
            with suppress(OSError):  # not empty: someone else uses it by now
                folder.rmdir()
        raise
    with suppress(OSError):  # the rename is done; some file systems cannot flush a folder
        _flush(target.parent)


def is_left_over(path: Path) -> bool:
    """Whether this is the temporary file of a process that was killed while it wrote (or still writes)."""
    return _LEFT_OVER.fullmatch(path.name) is not None


def clear_left_overs(folder: Path) -> None:
    """Remove such files from a folder (not its sub-folders) that nobody else writes to at the moment."""
    with suppress(OSError):
        for path in folder.iterdir():
            if is_left_over(path):
                path.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise ``UsageError`` where writing to ``path`` would replace something that may not be replaced."""
    if os.path.isdir(path):
        raise UsageError(f"{path}: is a folder; give the name of a file to write")
    if not overwrite and os.path.lexists(path):
        raise UsageError(f"{path}: exists already; give `--overwrite` to replace it, or choose another place")


def save_image(
    array: np.ndarray,
    path: str | os.PathLike[str],
    *,
    icc: bytes | None = None,
    alpha: np.ndarray | None = None,
    quality: int = 95,
    overwrite: bool = False,
) -> None:
    """Write a picture; the suffix of ``path`` chooses the format (PNG, JPEG, WebP, TIFF, BMP, PPM).

    Args:
        array: uint8 ``(H, W)`` grey, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA.
        path: the file to write.
        icc: a colour profile to embed; formats that cannot hold one leave it out.
        alpha: uint8 ``(H, W)`` to join to an RGB ``array``. Colours under alpha 0 are kept as they are.
        quality: 1..100, for JPEG and WebP; from 90 up JPEG keeps colour at full resolution.
        overwrite: replace a file that exists.

    Raises:
        UsageError: the file exists, the suffix is unknown, or the format cannot hold alpha or such a size.
        PartswapError: the file could not be written.
        ValueError: ``array`` or ``alpha`` is of another shape or dtype.
    """
    target = Path(path)
    image = _picture(array, alpha)
    form = _format_for(target, image)
    refuse_existing(target, overwrite)  # before the work of encoding
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    if form in ("JPEG", "WEBP"):
        options["quality"] = quality
    if form == "JPEG":
        options["subsampling"] = 0 if quality >= 90 else 2
    if form == "WEBP":
        options["exact"] = True  # else colours under alpha 0 are thrown away
    if form == "PNG":
        options["compress_level"] = _PNG_LEVEL
    if form == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
    _write(_encoded(image, form, **options), target, overwrite)


def save_label_map(
    labels: np.ndarray,
    palette: Sequence[tuple[int, int, int]],
    path: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Write a label map as an 8-bit palette PNG: the pixel value is the part's id, the palette its colour.

    Args:
        labels: uint8 ``(H, W)``, every value below ``len(palette)``.
        palette: up to 256 colours ``(r, g, b)``, 0..255; index 0 is the background.
        path: the file to write; its suffix must be ``.png``.
        overwrite: replace a file that exists.

    Raises:
        UsageError: the file exists or has another suffix.
        PartswapError: the file could not be written.
        ValueError: shape, dtype, an id without a colour, or a bad palette.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: label maps are written as PNG; end the name with .png")
    refuse_existing(target, overwrite)
    if labels.dtype != np.uint8 or labels.ndim != 2 or labels.size == 0:
        raise ValueError(f"labels must be uint8 (H, W), not {labels.dtype} {labels.shape}")
    if not 0 < len(palette) <= 256 or int(labels.max()) >= len(palette):
        raise ValueError(
            f"label {int(labels.max())} needs a palette of 1..256 colours that reaches it, not {len(palette)}"
        )
    image = Image.fromarray(labels)
    # filled up to 256 colours, or Pillow packs pixels into 1, 2 or 4 bits, which some readers do not expect
    colours = [*palette, *[(0, 0, 0)] * (256 - len(palette))]
    image.putpalette(bytes(channel for colour in colours for channel in colour))
    _write(_encoded(image, "PNG"), target, overwrite)


def save_json(obj: Any, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write ``obj`` as UTF-8 JSON, indented, with a newline at its end; NumPy numbers and arrays and paths
    are allowed.

    Raises:
        UsageError: the file exists and ``overwrite`` is False.
        PartswapError: the file could not be written.
        TypeError, ValueError: ``obj`` holds something that JSON cannot (NaN and infinity included).
    """
    refuse_existing(Path(path), overwrite)
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    # the names of files may hold bytes that are no text: as escapes, which JSON reads back
    _write((text + "\n").encode(errors="backslashreplace"), Path(path), overwrite)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


# ---------------------------------------------------------------- pictures


def _picture(array: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    grey = array.ndim == 2
    if (
        array.dtype != np.uint8
        or array.size == 0
        or not (grey or (array.ndim == 3 and array.shape[2] in (3, 4)))
    ):
        raise ValueError(
            f"a picture must be uint8 (H, W), (H, W, 3) or (H, W, 4), not {array.dtype} {array.shape}"
        )
    if alpha is not None:
        if (
            array.ndim != 3
            or array.shape[2] != 3
            or alpha.dtype != np.uint8
            or alpha.shape != array.shape[:2]
        ):
            raise ValueError(
                f"alpha must be uint8 (H, W) beside RGB, not {alpha.dtype} {alpha.shape} by {array.shape}"
            )
        array = np.dstack([array, alpha])
    return Image.fromarray(np.ascontiguousarray(array))


def _format_for(target: Path, image: Image.Image) -> str:
    form = _FORMATS.get(target.suffix.lower())
    if form is None:
        raise UsageError(
            f"{target}: pictures are not written as `{target.suffix}`; use one of {' '.join(_FORMATS)}"
        )
    if image.mode == "RGBA" and form not in _WITH_ALPHA:
        raise UsageError(f"{target}: {form} cannot hold transparency; use .png, .webp or .tif")
    longest = _LONGEST_SIDE.get(form)
    if longest is not None and max(image.size) > longest:
        raise UsageError(f"{target}: {form} holds at most {longest} pixels a side; use .png")
    return form


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()  # in memory first: Pillow's writers turn a full disk into errors that do not say so
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _write(data: bytes, target: Path, overwrite: bool) -> None:
    with atomic_write(target, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


# ---------------------------------------------------------------- files


@contextmanager
def _sentences(target: Path, only: tuple[int, ...] | None = None) -> Iterator[None]:
    """Turn errors of the operating system into sentences; with ``only``, just those error numbers."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        if error.errno in _DISK_FULL:
            raise PartswapError(
                f"{target}: the disk is full; free some space or write to another place"
            ) from error
        reason = error.strerror or str(error)
        raise PartswapError(
            f"{target}: could not be written ({reason}); check the place or choose another"
        ) from error


def _make_folders(folder: Path, made: list[Path]) -> None:
    missing = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    for each in reversed(missing):
        with suppress(FileExistsError):  # made by someone else meanwhile: theirs, so not ours to remove
            each.mkdir()
            made.append(each)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, a link fails where a file appeared meanwhile
    except FileExistsError:
        refuse_existing(target, overwrite)
        raise
    except (
        OSError
    ):  # no hard links here (FAT, some network mounts): the check is then a moment older than the rename
        refuse_existing(target, overwrite)
        os.replace(temporary, target)
    else:
        temporary.unlink()
