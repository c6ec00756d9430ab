"""Every colour mode that Pillow decodes to, brought to 8-bit RGB and alpha."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from partswap.errors import ImageError

__all__ = ["has_alpha", "has_grey_palette", "to_8_bits", "to_rgb"]

_BAND_PIXELS = 8_000_000


def to_rgb(image: Image.Image, name: str) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """Split a decoded image into colour, transparency and profile.

    Args:
        image: decoded, upright.
        name: what an error calls the image.

    Returns:
        rgb uint8 ``(H, W, 3)``; alpha uint8 ``(H, W)``, 255 opaque, or None; the ICC profile that still
        holds for rgb, or None. Both arrays are C-contiguous, writable and new.

    Raises:
        ImageError: pixels without a plain 8-bit meaning (floats, 32-bit integers, LAB).
    """
    icc = image.info.get("icc_profile")
    if not isinstance(icc, bytes) or icc[16:20] != b"RGB ":  # a grey or CMYK profile says nothing about rgb
        icc = None
    if image.mode == "F":
        raise ImageError(
            f"{name}: floating point pixels have no agreed range; save it as an 8-bit or 16-bit image first"
        )
    if image.mode.startswith("I"):
        grey = to_8_bits(_deep_grey(image, name))
        return np.repeat(grey[:, :, None], 3, axis=2), _keyed_alpha(image), icc
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    try:
        if has_alpha(image):
            pixels = _pixels(image.convert("RGBA"))
            return np.ascontiguousarray(pixels[:, :, :3]), np.ascontiguousarray(pixels[:, :, 3]), icc
        return _pixels(image if image.mode == "RGB" else image.convert("RGB")), None, icc
    except ValueError as error:
        raise ImageError(
            f"{name}: colour mode {image.mode} is not supported; save it as RGB first"
        ) from error


def has_alpha(image: Image.Image) -> bool:
    """Tell whether the image has an alpha channel, transparent palette entries or a colour key."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return True
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:
        return False  # a 16-bit colour key over pixels that Pillow has reduced to 8 bits: it matches nothing
    return key is not None and image.mode in ("P", "L", "1", "RGB")


def has_grey_palette(image: Image.Image) -> bool:
    """Tell whether a palette image (mode ``P``) is a grey picture, not a map of ids with colours for show."""
    colours = np.asarray(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale uint16 to uint8 of the same shape, 65535 to 255, rounding to nearest."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _deep_grey(image: Image.Image, name: str) -> np.ndarray:
    """Return 16-bit grey, uint16 (H, W); 32-bit files pass where their values fit into 16 bits."""
    values = np.asarray(image)
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 65535):
        raise ImageError(
            f"{name}: 32-bit pixels have no agreed range; save it as an 8-bit or 16-bit image first"
        )
    return values.astype(np.uint16)


def _keyed_alpha(image: Image.Image) -> np.ndarray | None:
    key = image.info.get("transparency")
    return np.where(np.asarray(image) == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            srgb = ImageCms.createProfile("sRGB")
            turned = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            if turned is not None:
                return turned
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: the plain formula below is still a usable picture
    return image.convert("RGB")


def _pixels(image: Image.Image) -> np.ndarray:
    """Copy 8-bit channels to uint8 (H, W, C), band by band, so that no second full copy exists meanwhile."""
    out = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        out[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return out
