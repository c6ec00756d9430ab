"""Part maps to learn from, in which a limb hangs on a body.

A bare knee is at the height of a hand and has its colour, so a net that knows parts by their place takes it
for one. But no arm leads there: it lies in the midst of a leg.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

AROUND = 0.8
"""Least share of the border within the body, at which a limb's piece lies in the midst of something."""
BORDER = 2
"""Width of that border, pixels of the part map."""


def islands(given: np.ndarray, own: np.ndarray, around: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Pieces of a limb that lie in the midst of what it never is a piece of, bool (h, w).

    Args:
        given: float32 (K, h, w), posterior, all zero where it is left open; own: bool (K,), the limb's parts;
            around: bool (K,), what it is no piece of; on: bool (h, w), foreground.
    """
    best = given.argmax(axis=0)
    known = on & (given.sum(axis=0) > 0.5)
    outside = known & around[best]
    pieces, _ = ndimage.label(known & own[best])
    found = np.zeros_like(on)
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        box = (_wider(rows), _wider(columns))
        piece = pieces[box] == number
        border = ndimage.binary_dilation(piece, iterations=BORDER) & known[box] & ~piece
        if border.any() and outside[box][border].mean() >= AROUND:
            found[box] |= piece
    return found


def _wider(span: slice) -> slice:
    return slice(max(0, span.start - BORDER), span.stop + BORDER)
