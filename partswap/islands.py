"""A limb hangs on a body: what is taken for one in the midst of a leg is none.

A bare knee is at the height of a hand and has its colour, so a net that knows parts by their place takes it
for one. But no arm leads there. Which parts make up limbs, and where they never lie, a person said in
training (`train --limbs`); the model remembers it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from partswap.checkpoint.config import HangingLimb
from partswap.imaging.opencv import opencv

AROUND = 0.8
"""Least share of the border within the body, at which a limb's piece lies in the midst of something."""
BORDER = 2
"""Width of that border, pixels of the part map."""


def without_islands(part_map: np.ndarray, limbs: Sequence[HangingLimb]) -> np.ndarray:
    """The part map of a photo in which islands of limbs are what they lie in.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background.

    Returns:
        float32 (K+1, h, w); background is as it was, and so is a part map without islands.
    """
    ids = np.arange(1, len(part_map))
    for limb in limbs:
        around = np.isin(ids, limb.never)
        on = part_map[0] < 0.5
        parts = part_map[1:]
        given = parts / np.maximum(parts.sum(axis=0), 1e-6)
        where = islands(given, np.isin(ids, limb.parts), around, on)
        if where.any():
            shares = parts[:, where] * around[:, None] + 1e-6 * around[:, None]
            part_map = part_map.copy()
            part_map[1:, where] = shares * ((1 - part_map[0, where]) / shares.sum(axis=0))
    return part_map


def islands(given: np.ndarray, own: np.ndarray, around: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Pieces of a limb that lie in the midst of what it never is a piece of, bool (h, w).

    Args:
        given: float32 (K, h, w), posterior, all zero where it is left open; own: bool (K,), the limb's parts;
            around: bool (K,), what it is no piece of; on: bool (h, w), foreground.
    """
    cv2 = opencv()
    best = given.argmax(axis=0)
    known = on & (given.sum(axis=0) > 0.5)
    outside = known & around[best]
    limb = (known & own[best]).astype(np.uint8)
    number, pieces, stats, _ = cv2.connectedComponentsWithStats(limb, connectivity=4)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    found = np.zeros_like(on)
    for piece in range(1, number):
        x, y, width, height = stats[piece, :4]
        box = (_wider(y, height), _wider(x, width))
        here = pieces[box] == piece
        reach = cv2.dilate(here.astype(np.uint8), cross, iterations=BORDER) > 0
        border = reach & known[box] & ~here
        if border.any() and outside[box][border].mean() >= AROUND:
            found[box] |= here
    return found


def _wider(start: int, length: int) -> slice:
    return slice(max(0, start - BORDER), start + length + BORDER)
