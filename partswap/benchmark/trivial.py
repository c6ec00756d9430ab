"""Rows that need no learning: equal cells of a foreground's bounding box. Every table prints them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHAPES = {"8 bands": (8, 1), "8x4 grid": (8, 4)}
"""The trivial segmentations: name -> rows, columns."""


def true_foreground(labels: NDArray[np.uint8], ignore: int | None = 255) -> NDArray[np.bool_]:
    """Where a label map (H, W) holds a class other than background and is not ignored: bool (H, W)."""
    return (labels > 0) if ignore is None else (labels > 0) & (labels != ignore)


def cells(foreground: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.uint8]:
    """Cut the bounding box of a foreground (H, W) into rows x columns equal cells: label map uint8 (H, W).

    Cells are numbered row by row from 1 and kept only inside the foreground; no foreground gives zeros.
    """
    out = np.zeros(foreground.shape, np.uint8)
    ys, xs = np.flatnonzero(foreground.any(1)), np.flatnonzero(foreground.any(0))
    if ys.size == 0:
        return out
    top, bottom, left, right = ys[0], ys[-1] + 1, xs[0], xs[-1] + 1
    row = (np.arange(bottom - top) * rows) // (bottom - top)
    column = (np.arange(right - left) * columns) // (right - left)
    out[top:bottom, left:right] = row[:, None] * columns + column[None, :] + 1
    out[~foreground] = 0
    return out
