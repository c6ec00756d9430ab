"""A limb hangs on a body: what is taken for one in the midst of a leg is none.

A bare knee is at the height of a hand and has its colour, so a net that knows parts by their place takes it
for one. But no arm leads there. And a raised fist is at the height of a head; but a body has one, and an arm
leads to the fist. Which parts make up limbs, where they never lie and what there is once, a person said in
training (`train --limbs`); the model remembers it. Nor is a strip along the side of a trunk or a coat a limb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from partswap.checkpoint.config import HangingLimb
from partswap.imaging.opencv import opencv

AROUND = 0.8
"""Least share of its border within the body, at which a limb's piece lies in the midst of something."""
WITHIN = 1 / 3
"""Least share of its border that is within the body: what only touches a leg, such as a hand that hangs
beside it, is no island in it."""
BORDER = 2
"""Width of that border, pixels of the part map."""
SECOND = 0.5
"""Of the largest piece's area a further one has less: of two that are about as large, either may be the true
one, or there are two."""
NARROW = 0.02
"""A limb reaches further than this from its middle line, in square roots of the foreground's area: what an
opening with such a disc takes away may be a strip."""
STRIP = 0.004
"""Least share of the foreground: less is the roughness of a limb's border."""
ALONG = 0.5
"""Least share of its border, but for thin parts of the limb, on the rest of the body: fingers border on
background."""
MANY = 1000
"""With more pieces than this a limb is noise, and no islands are looked for."""


@dataclass(frozen=True)
class Island:
    """A piece of a limb in the midst of something.

    box: rows and columns of the part map. piece, border: bool, of the box's shape, the piece and what is
    known of its border.
    """

    box: tuple[slice, slice]
    piece: np.ndarray
    border: np.ndarray

    def lies_in(self, parts: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Which of the parts ``around``, bool (K,), it lies in, by part maps float (K, h, w): bool (K,)."""
        ids = np.flatnonzero(around)
        planes = np.stack([parts[part][self.box][self.border] for part in ids])
        return np.isin(np.arange(len(around)), ids[np.unique(planes.argmax(axis=0))])


def without_islands(part_map: np.ndarray, limbs: Sequence[HangingLimb]) -> np.ndarray:
    """The part map of a photo in which islands of limbs are what they lie in.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background.

    Returns:
        float32 (K+1, h, w); background is as it was, and so is a part map without islands.
    """
    ids = np.arange(1, len(part_map))
    for limb in (limb for limb in limbs if limb.never):
        own, around = np.isin(ids, limb.parts), np.isin(ids, limb.never)
        parts, on = part_map[1:], part_map[0] < 0.5
        as_limb, outside, rest = (_largest(parts, which) for which in (own, around, ~(own | around)))
        found = islands(
            on & (as_limb > outside) & (as_limb > rest), on & (outside >= as_limb) & (outside >= rest), on
        )
        part_map = _given(
            part_map, [(island.box, island.piece, island.lies_in(parts, around)) for island in found]
        )
    return part_map


def without_second_pieces(part_map: np.ndarray, limbs: Sequence[HangingLimb]) -> np.ndarray:
    """The part map of a photo in which further pieces of what a body has once are the limb that they lie in.
    What a second person has of it stays where it is about as large, or touches other parts too.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background.

    Returns:
        float32 (K+1, h, w); background is as it was, and so is a part map without such pieces.
    """
    cv2 = opencv()
    ids, on = np.arange(1, len(part_map)), part_map[0] < 0.5
    found = []
    for limb in (limb for limb in limbs if limb.once):
        own = np.isin(ids, limb.parts)
        limb_on = _where(part_map, own)
        for once in limb.once if limb_on.any() else ():
            there = _where(part_map, np.isin(ids, once)).astype(np.uint8)
            number, pieces, stats, _ = cv2.connectedComponentsWithStats(there, connectivity=4)
            areas = stats[1:, cv2.CC_STAT_AREA]
            small = 1 + np.flatnonzero(areas < SECOND * areas.max(initial=0))
            for piece in small.tolist() if number <= MANY else ():
                box, here, ring = _with_ring(pieces, stats, piece)
                border = limb_on[box][ring & on[box]]
                if border.any() and border.mean() >= AROUND:
                    found.append((box, here, own))
    return _given(part_map, found)


def without_strips(part_map: np.ndarray, limbs: Sequence[HangingLimb]) -> np.ndarray:
    """The part map of a photo in which strips of limbs along the body are what they lie along.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background.

    Returns:
        float32 (K+1, h, w); background is as it was, and so is a part map without strips.
    """
    cv2 = opencv()
    ids, on = np.arange(1, len(part_map)), part_map[0] < 0.5
    width = 2 * math.ceil(NARROW * math.sqrt(on.sum())) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    found = []
    for limb in limbs if on.any() else ():
        own = np.isin(ids, limb.parts)
        limb_on = _where(part_map, own).astype(np.uint8)
        thick = cv2.morphologyEx(limb_on, cv2.MORPH_OPEN, disc)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(limb_on - thick, connectivity=4)
        large = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= STRIP * on.sum())
        for piece in large.tolist():
            box, here, ring = _with_ring(pieces, stats, piece)
            other = limb_on[box] == 0
            along = ring & other & on[box]
            if along.any() and along.sum() >= ALONG * (ring & (other | (thick[box] > 0))).sum():
                rows, columns = box
                parts = part_map[1:, rows, columns][~own][:, along]
                found.append((box, here, np.isin(ids, ids[~own][np.unique(parts.argmax(axis=0))])))
    return _given(part_map, found)


def _where(part_map: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Where one of the parts, bool (K,), is likelier than all others, in the foreground: bool (h, w)."""
    parts = part_map[1:]
    found: np.ndarray = (part_map[0] < 0.5) & (_largest(parts, which) > _largest(parts, ~which))
    return found


def _given(
    part_map: np.ndarray, found: Sequence[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]
) -> np.ndarray:
    """A copy in which places (rows and columns, and bool within them) are some parts, bool (K,); without any
    place the same."""
    if found:
        part_map = part_map.copy()
    for (rows, columns), here, which in found:
        give_to(part_map[:, rows, columns], here, which)
    return part_map


def give_to(part_map: np.ndarray, where: np.ndarray, which: np.ndarray) -> None:
    """Give places, bool (h, w), to the parts ``which``, bool (K,), in place, as it is thought of each.
    part_map is float32 (K+1, h, w), and its background stays."""
    shares = (part_map[1:, where] + 1e-6) * which[:, None]
    part_map[1:, where] = shares * ((1 - part_map[0, where]) / shares.sum(axis=0))


def islands(limb: np.ndarray, around: np.ndarray, known: np.ndarray) -> list[Island]:
    """Pieces of a limb that lie in the midst of what it is no piece of.

    Args:
        limb, around: bool (h, w), where the limb is, and what it is no piece of; known: bool (h, w), where it
            is known what is: elsewhere is no border.
    """
    cv2 = opencv()
    number, pieces, stats, _ = cv2.connectedComponentsWithStats(limb.astype(np.uint8), connectivity=4)
    found = []
    for piece in range(1, number if number <= MANY else 0):
        box, here, ring = _with_ring(pieces, stats, piece)
        border = ring & known[box]
        inside = border.any() and border.sum() >= WITHIN * ring.sum()
        if inside and around[box][border].mean() >= AROUND:
            found.append(Island(box, here, border))
    return found


def _with_ring(
    pieces: np.ndarray, stats: np.ndarray, piece: int
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """A piece, what OpenCV says of all of them being given: rows and columns about it, and bool of that
    shape, where it is and where its border is."""
    cv2 = opencv()
    x, y, width, height = stats[piece, :4]
    box = (_wider(y, height), _wider(x, width))
    here = pieces[box] == piece
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return box, here, (cv2.dilate(here.astype(np.uint8), cross, iterations=BORDER) > 0) & ~here


def _largest(parts: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Over some of the parts float32 (K, h, w), plane by plane: ten times as fast as an arg max of all."""
    largest = np.zeros(parts.shape[1:], np.float32)
    for part in np.flatnonzero(which):
        np.maximum(largest, parts[part], out=largest)
    return largest


def _wider(start: int, length: int) -> slice:
    return slice(max(0, start - BORDER), start + length + BORDER)
