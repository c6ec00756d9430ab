"""The one door to OpenCV, opened late: ``cv2`` imports slowly, and needs libraries that servers lack."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from partswap.errors import PartswapError

__all__ = ["opencv"]


@functools.cache
def opencv() -> Any:
    """Return the ``cv2`` module.

    Raises:
        PartswapError: ``cv2`` cannot be imported; the sentence carries the mend.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:  # a missing libGL.so.1 arrives as an ImportError too
        raise PartswapError(
            f"OpenCV could not be imported ({error}): run `pip install opencv-python-headless`, "
            "or, where libGL is missing, `apt-get install libgl1`"
        ) from error
