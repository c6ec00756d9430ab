"""A bare limb before the body is a limb.

A net that knows parts by their place takes a forearm before a trunk for the trunk. But there is skin where
cloth should be, and it goes on into the limb: that the photo tells, one to learn from as well as one that is
segmented. What a limb may lie before, and which parts are bare whenever they are seen, a person said in
training (`train --limbs`); the model remembers it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from partswap.appearance import likelihoods, typical_and_own
from partswap.checkpoint.config import HangingLimb
from partswap.imaging.opencv import opencv
from partswap.islands import give_to

OTHERWISE = 0.15
"""Least likelihood of a colour: lower than when all parts keep to theirs (`partswap.appearance`)."""
OF_BODY = 0.5
"""From this likelihood of the body's colours on, a limb is not bare: a T-shirt's sleeve is none."""
LIKE = 0.25
"""Least likelihood of the limb's own colour where it is seen before the body, and in the limb beside it."""
UNLIKE = 0.4
"""Most likelihood of the colour of what it lies before."""
TYPICAL, APART = 0.6, 0.05
"""Where the body shows its own colour, by TYPICAL, that of the limb is less likely than APART on average: on
a bare chest nothing is to be seen."""
BARE = 0.17
"""Least likelihood of the limb's colour, on average, in what is bare whenever it is seen: with less, the limb
wears a sleeve, and what has its colour may be the front of an open coat."""
SOME = 10
"""Least number of pixels of what is bare, by which to tell."""
LIMB, CROSSING = 0.004, 0.003
"""Least shares of the foreground: of the limb that the crossing goes on into, and of what crosses. Less may
be a speck."""
LOOKED_AT = 160
"""Longer side, in pixels, at which photos that are segmented are looked at."""


def with_crossings(part_map: np.ndarray, pixels: np.ndarray, limbs: Sequence[HangingLimb]) -> np.ndarray:
    """The part map of a photo in which bare limbs before the body are limbs.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background; pixels: uint8 (H, W, 3), the same
            picture; limbs: those that may lie before nothing do not count.

    Returns:
        float32 (K+1, h, w); background is as it was, and so is a part map without crossings.
    """
    limbs = [limb for limb in limbs if limb.before]
    if not limbs:
        return part_map
    cv2 = opencv()
    h, w = part_map.shape[1:]
    scale = min(1.0, LOOKED_AT / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    small = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in part_map])
    given = small[1:] / np.maximum(1 - small[0], 1e-6)
    colours = Colours(small, pixels, of_one_colour(len(given), [limb.parts for limb in limbs]))
    for limb in limbs:
        found = colours.crossing(given, limb.parts, limb.before, limb.bare)
        if found.any():
            where = cv2.resize(found.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR) > 0.5
            own = np.isin(np.arange(1, len(part_map)), limb.parts)
            part_map = part_map.copy()
            give_to(part_map, where, own)
            give_to(small, found, own)
            given = small[1:] / np.maximum(1 - small[0], 1e-6)
    return part_map


def of_one_colour(number: int, limbs: Sequence[Sequence[int]]) -> list[int]:
    """Which parts share one colour, as many numbers from 0: those of one limb, given by its ids. Others do
    not, not even of one name: a thigh is in shorts where a shin is bare."""
    group = list(range(number))
    for parts in limbs:
        joined = {group[part - 1] for part in parts}
        group = [min(joined) if one in joined else one for one in group]
    return [sorted(set(group)).index(one) for one in group]


class Colours:
    """How well each pixel of a photo goes with the colours of its parts."""

    def __init__(self, part_map: np.ndarray, pixels: np.ndarray, alike: Sequence[int]) -> None:
        """Of :func:`partswap.appearance.typical_and_own`; alike: K numbers from 0, equal for parts that share
        a colour."""
        self.part_map, self.pixels, self.alike = part_map, pixels, np.asarray(alike)
        typical, self.own = typical_and_own(part_map, pixels, alike, OTHERWISE)
        self.likely = self._goes_with(typical)[self.alike]
        self.fits = (1 - OTHERWISE) * self.likely + OTHERWISE

    def fit(self, given: np.ndarray, which: np.ndarray) -> np.ndarray:
        """How well the colours of the parts ``which``, bool (K,), go with each pixel: float32 (h, w), by a
        posterior float32 (K, h, w)."""
        share = given[which].sum(axis=0)
        found: np.ndarray = (given[which] * self.fits[which]).sum(axis=0) / np.maximum(share, 1e-6)
        return found

    def crossing(
        self, given: np.ndarray, parts: Sequence[int], before: Sequence[int], bare: Sequence[int]
    ) -> np.ndarray:
        """Where a bare limb crosses the body, bool (h, w).

        Args:
            given: float32 (K, h, w), posterior, zero where it is left open; parts: ids of the limb's; before:
                of what it may lie before; bare: of what has the limb's colour where the limb is bare; without
                any, each limb may be.
        """
        ids = np.arange(1, len(given) + 1)
        own, on = np.isin(ids, parts), self.part_map[0] < 0.5
        fits = self.likely.copy()
        fits[own] = as_limb = self._as_bare(own)
        if len(bare) and not _is_bare(given, as_limb, np.isin(ids, bare), on):
            return np.zeros_like(on)
        return crossing(given, fits, own, np.isin(ids, before), on)

    def _as_bare(self, own: np.ndarray) -> np.ndarray:
        """How well each pixel goes with what of a limb, bool (K,), is not in a sleeve: float32 (h, w)."""
        parts = self.part_map[1:]
        limb = parts[own].sum(axis=0) * (self.fit(parts, ~own) < OF_BODY)
        seen = np.stack([self.part_map[0], limb, parts[~own].sum(axis=0)])
        typical, _ = typical_and_own(seen, self.pixels, (0, 1), 0.0)
        found: np.ndarray = self._goes_with(typical[:1])[0]
        return found

    def _goes_with(self, typical: np.ndarray) -> np.ndarray:
        """Likelihoods of the pixels, (k, h, w), by colours (k, 3), near 0 for others."""
        return likelihoods(typical, self.own, 0.0).reshape(-1, *self.part_map.shape[1:])


def _is_bare(given: np.ndarray, as_limb: np.ndarray, bare: np.ndarray, on: np.ndarray) -> bool:
    """Whether the parts ``bare``, bool (K,), have the colour of a limb, by its likelihood float32 (h, w)."""
    there = on & bare[given.argmax(axis=0)] & (given.sum(axis=0) > 0.5)
    return bool(there.sum() >= SOME and as_limb[there].mean() > BARE)


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
    number, pieces = opencv().connectedComponents(_opened(limb | over), connectivity=4)
    least = np.array([LIMB, CROSSING]) * on.sum()
    sizes = np.stack([np.bincount(pieces[some], minlength=number) for some in (limb, over)], axis=1)
    joined = (sizes >= least).all(axis=1)
    joined[0] = False
    found: np.ndarray = joined[pieces] & over
    return found


def _opened(on: np.ndarray) -> np.ndarray:
    """Without what is narrower than two pixels: bool (h, w) -> uint8. Step by step, as OpenCV's own opening
    with an even kernel moves what it opens by a pixel."""
    cv2 = opencv()
    square = np.ones((2, 2), np.uint8)
    worn = cv2.erode(
        on.astype(np.uint8), square, anchor=(1, 1), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    opened: np.ndarray = cv2.dilate(
        worn, square, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return opened
