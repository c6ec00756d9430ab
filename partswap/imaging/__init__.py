"""Pixels in and out.

``load`` turns any photo into upright RGB, ``frame`` brings it to the net's size and answers back to the
photo's, ``draw`` makes pictures for people to look at, ``save`` writes files that are whole or not there.
Names are imported on first use, so that importing this package costs nothing (no NumPy, Pillow or OpenCV).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partswap.imaging.draw import colorize, overlay, palette, sheet
    from partswap.imaging.frame import Frame, fit
    from partswap.imaging.load import LoadedImage, list_images, load_image, load_mask
    from partswap.imaging.save import atomic_write, save_image, save_json, save_label_map

__all__ = [
    "Frame",
    "LoadedImage",
    "atomic_write",
    "colorize",
    "fit",
    "list_images",
    "load_image",
    "load_mask",
    "overlay",
    "palette",
    "save_image",
    "save_json",
    "save_label_map",
    "sheet",
]

_HOMES = {
    "load": ("LoadedImage", "list_images", "load_image", "load_mask"),
    "save": ("atomic_write", "save_image", "save_json", "save_label_map"),
    "frame": ("Frame", "fit"),
    "draw": ("colorize", "overlay", "palette", "sheet"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"partswap.imaging.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
