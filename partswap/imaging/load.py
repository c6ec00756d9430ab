"""Any photo in, upright 8-bit RGB out.

Every way a file can be odd (orientation, colour mode, bit depth, transparency, animation, damage, absurd
size) is settled here and in ``modes`` once, so that the rest of partswap sees one kind of array. What
cannot be settled is an ``ImageError`` that names the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from partswap.errors import ImageError, UsageError
from partswap.imaging.modes import has_alpha, has_grey_palette, to_8_bits, to_rgb
from partswap.imaging.opening import MAX_PIXELS, ImageSource, check_size, opened

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "ImageSource",
    "LoadedImage",
    "list_images",
    "load_image",
    "load_label_map",
    "load_mask",
]

_ENDINGS = "jpg jpeg jpe jfif mpo png apng webp avif bmp dib tif tiff gif ppm pgm pbm pnm jp2 j2k"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Lower-case file name endings that ``list_images`` takes for photos."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A photo as the rest of partswap sees it.

    Attributes:
        rgb: uint8 ``(H, W, 3)``, C-contiguous, writable, upright, shares no memory with the source.
        alpha: uint8 ``(H, W)``, 0 transparent .. 255 opaque; None where the photo has no transparency.
        icc: the embedded colour profile, only where it describes ``rgb`` (an RGB profile); None otherwise.
        format: Pillow's name of the file format (``"JPEG"``); None for arrays and for pictures made in
            memory.
        name: what messages call the photo: the path as it was given, or ``<bytes>``, ``<stream>``,
            ``<image>``, ``<array>``.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    icc: bytes | None
    format: str | None
    name: str


def load_image(source: ImageSource, *, max_pixels: int | None = None) -> LoadedImage:
    """Read one photo.

    Args:
        source: a path, the bytes of a file, a binary stream (read to its end; need not be seekable), a
            Pillow image, or an array: uint8, uint16 (scaled to 8 bits) or bool, shaped ``(H, W)`` or ``(H,
            W, C)`` with C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA. Of an animation the first frame is read.
        max_pixels: the ceiling on width x height; ``MAX_PIXELS`` when left out.

    Raises:
        ImageError: missing, not an image, truncated, above the ceiling, empty, or of a kind with no plain
            8-bit meaning (float, 32-bit).
    """
    ceiling = MAX_PIXELS if max_pixels is None else max_pixels
    if isinstance(source, np.ndarray):
        return _from_array(source, ceiling)
    with opened(source, ceiling) as (image, name):
        image = _decoded(image, name)
        rgb, alpha, icc = to_rgb(image, name)
        return LoadedImage(rgb=rgb, alpha=alpha, icc=icc, format=image.format, name=name)


def load_mask(path: ImageSource, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a foreground mask as uint8 ``(H, W)``, 0 background .. 255 foreground.

    Understood are: grey pictures; transparency (a cutout: its alpha is the mask); 0 / 1 masks (stretched to
    0 / 255); label maps with a colour palette (every id but 0 is foreground).

    Args:
        path: anything ``load_image`` takes.
        size: ``(W, H)`` to bring the mask to (area average down, bilinear up); its own size when None.

    Raises:
        ImageError: as ``load_image``.
    """
    mask = _mask_values(path)
    if size is not None and size != mask.shape[::-1]:
        mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
    return mask


def load_label_map(path: ImageSource) -> np.ndarray:
    """Read a label map: uint8 ``(H, W)``, the values of an 8-bit grey or palette picture as they are stored.

    Raises:
        ImageError: as ``load_image``, and for pictures of any other mode.
    """
    with opened(path, MAX_PIXELS) as (image, name):
        if image.mode not in ("L", "P"):
            raise ImageError(
                f"{name}: is no label map: its pixels are {image.mode}, not 8-bit grey or palette"
            )
        return np.array(_decoded(image, name), np.uint8)


def list_images(path: str | os.PathLike[str], recursive: bool = True) -> list[Path]:
    """List the photos in a folder, sorted by path; a path to a file is listed as itself.

    Photos are told by ``SUFFIXES``, whatever their case. Hidden files and folders are left out (macOS
    writes ``._photo.jpg`` beside ``photo.jpg``), and links to folders are not followed, so that a loop
    cannot hang the walk.

    Raises:
        UsageError: there is no such file or folder, or the folder cannot be read.
    """
    root = Path(path)
    if os.path.isfile(root):
        return [root]
    if not os.path.isdir(root):
        raise UsageError(f"{root}: no such file or folder; check the path")
    found: list[Path] = []
    folders = [str(root)]
    while folders:  # not os.walk, which calls itself for every level, and trees can be deeper than Python
        for entry in _entries(folders.pop()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders += [entry.path] if recursive else []
            elif Path(entry.name).suffix.lower() in SUFFIXES and not _is_linked_folder(entry):
                found.append(Path(entry.path))
    return sorted(found)


def _is_linked_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and os.path.isdir(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UsageError(f"{folder}: the folder could not be read ({error.strerror})") from error


# ---------------------------------------------------------------- decoding


def _decoded(image: Image.Image, name: str) -> Image.Image:
    """Decode and turn upright. The image that was passed in keeps its pixels and its orientation tag."""
    try:
        image.load()
    except MemoryError as error:
        raise ImageError(
            f"{name}: not enough memory to decode {image.width} x {image.height} pixels"
        ) from error
    except Exception as error:  # as in _identified: every decoder has its own errors for damaged data
        raise ImageError(f"{name}: the image is truncated or damaged ({error})") from error
    method = _UPRIGHT.get(_orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    turned.format = image.format
    return turned


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block must not cost the user a photo that decodes
        return 1


# ---------------------------------------------------------------- arrays and masks


def _from_array(array: np.ndarray, ceiling: int) -> LoadedImage:
    name = "<array>"
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = to_8_bits(array)
    elif array.dtype != np.uint8:
        raise ImageError(f"an array of {array.dtype} has no agreed range; convert it to uint8, 0..255")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ImageError(
            f"an array of shape {array.shape} is not one image; give (H, W), (H, W, 3) or (H, W, 4)"
        )
    check_size(array.shape[1], array.shape[0], ceiling, name)
    grey = array.shape[2] < 3
    rgb = np.repeat(array[:, :, :1], 3, axis=2) if grey else np.array(array[:, :, :3], order="C")
    alpha = np.array(array[:, :, -1], order="C") if array.shape[2] in (2, 4) else None
    return LoadedImage(rgb=np.ascontiguousarray(rgb), alpha=alpha, icc=None, format=None, name=name)


def _mask_values(source: ImageSource) -> np.ndarray:
    if not isinstance(source, np.ndarray):
        with opened(source, MAX_PIXELS) as (image, name):
            image = _decoded(image, name)
            if image.mode == "P" and not has_alpha(image) and not has_grey_palette(image):
                return np.where(np.asarray(image) > 0, 255, 0).astype(np.uint8)
            rgb, alpha, _ = to_rgb(image, name)
    else:
        loaded = _from_array(source, MAX_PIXELS)
        rgb, alpha = loaded.rgb, loaded.alpha
    if alpha is not None and alpha.min() < 255:
        return alpha
    mask = np.array(Image.fromarray(rgb).convert("L"))
    return mask * np.uint8(255) if mask.max() <= 1 else mask
