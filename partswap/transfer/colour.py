"""One colour space for both photos: numbers of the source mean nothing under the target's profile."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from partswap.imaging.load import LoadedImage

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile

__all__ = ["in_space_of"]


def in_space_of(source: LoadedImage, target: LoadedImage) -> np.ndarray:
    """The source's pixels, uint8 (H, W, 3), in the target's colour profile.

    A photo without a profile is taken for sRGB. A profile that cannot be read is ignored, as viewers do.
    """
    if source.icc == target.icc:
        return source.rgb
    from PIL import Image, ImageCms

    try:
        first, second = _profile(source.icc), _profile(target.icc)
        if _name(first) == _name(second):  # the same space, written by other software
            return source.rgb
        converted = ImageCms.profileToProfile(Image.fromarray(source.rgb), first, second)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return source.rgb
    return source.rgb if converted is None else np.array(converted)


def _profile(icc: bytes | None) -> ImageCmsProfile:
    from PIL import ImageCms

    if icc is None:
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsProfile(io.BytesIO(icc))


def _name(profile: ImageCmsProfile) -> str:
    from PIL import ImageCms

    name = ImageCms.getProfileDescription(profile).casefold()
    return "srgb" if "srgb" in name else name
