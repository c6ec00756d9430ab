"""Part maps to learn from, in which a bare limb before the body is a limb.

A net that knows parts by their place takes a forearm before a trunk for the trunk. But there is skin where
cloth should be, and it goes on into the limb: that the photo tells.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LIKE = 0.25
"""Least likelihood of the limb's own colour where it is seen before the body, and in the limb beside it."""
UNLIKE = 0.4
"""Most likelihood of the colour of what it lies before."""
TYPICAL, APART = 0.6, 0.05
"""Where the body shows its own colour, by TYPICAL, that of the limb is less likely than APART on average: on
a bare chest nothing is to be seen."""
LIMB, CROSSING = 0.004, 0.003
"""Least shares of the foreground: of the limb that the crossing goes on into, and of what crosses. Less may
be a speck."""


def crossing(
    given: np.ndarray, fits: np.ndarray, own: np.ndarray, behind: np.ndarray, on: np.ndarray
) -> np.ndarray:
    """Where a bare limb crosses the body, bool (h, w).

    Args:
        given: float32 (K, h, w), posterior, all zero where it is left open; fits: float32 (K, h, w),
            likelihoods of the colours, near 0 for others; own: bool (K,), the limb's parts, which share one
            colour; behind: bool (K,), what it may lie before; on: bool (h, w), foreground.
    """
    best = given.argmax(axis=0)
    known = on & (given.sum(axis=0) > 0.5)
    as_limb = fits[own.argmax()]
    as_itself = np.take_along_axis(fits, best[None], axis=0)[0]
    trunk = known & behind[best]
    typical = trunk & (as_itself > TYPICAL)
    if not typical.any() or as_limb[typical].mean() > APART:
        return np.zeros_like(on)
    alike = known & (as_limb > LIKE)
    limb, over = alike & own[best], alike & trunk & (as_itself < UNLIKE)
    pieces, number = ndimage.label(ndimage.binary_opening(limb | over, np.ones((2, 2))))
    least = np.array([LIMB, CROSSING]) * on.sum()
    sizes = np.stack([np.bincount(pieces[some], minlength=number + 1) for some in (limb, over)], axis=1)
    joined = (sizes >= least).all(axis=1)
    joined[0] = False
    found: np.ndarray = joined[pieces] & over
    return found


def nothing_but(given: np.ndarray, own: np.ndarray, where: np.ndarray) -> np.ndarray:
    """``given``, float32 (K, h, w), with nothing but the parts ``own``, bool (K,), at ``where``, bool (h, w);
    their shares stay, and what none of them has a share of is left open."""
    found = given.copy()
    of_limb = given[:, where] * own[:, None]
    found[:, where] = of_limb / np.maximum(of_limb.sum(axis=0), 1e-6)
    return found
