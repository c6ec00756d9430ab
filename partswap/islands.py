"""A limb hangs on a body: what is taken for one in the midst of a leg is none.

A bare knee is at the height of a hand and has its colour, so a net that knows parts by their place takes it
for one. But no arm leads there. And a raised fist is at the height of a head; but a body has one, and an arm
leads to the fist. Which parts make up limbs, where they never lie and what there is once, a person said in
training (`train --limbs`); the model remembers it.
"""

from __future__ import annotations

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
        if found:
            part_map = part_map.copy()
        for island in found:
            rows, columns = island.box
            give_to(part_map[:, rows, columns], island.piece, island.lies_in(parts, around))
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
    limbs = [limb for limb in limbs if limb.once]
    if not limbs:
        return part_map
    labels = np.where(part_map[0] < 0.5, part_map[1:].argmax(axis=0) + 1, 0).astype(np.uint8)
    there = set(np.unique(labels).tolist())
    found = []
    for limb in limbs:
        for once in limb.once if there & set(limb.parts) else ():
            if not there & set(once):
                continue
            on = np.isin(labels, once).astype(np.uint8)
            number, pieces, stats, _ = cv2.connectedComponentsWithStats(on, connectivity=4)
            areas = stats[1:, cv2.CC_STAT_AREA]
            small = 1 + np.flatnonzero(areas < SECOND * areas.max())
            for piece in small.tolist() if number <= MANY else ():
                box, here, ring = _with_ring(pieces, stats, piece)
                border = labels[box][ring & (labels[box] > 0)]
                if len(border) and np.isin(border, limb.parts).mean() >= AROUND:
                    found.append((box, here, limb.parts))
    if found:
        part_map = part_map.copy()
    for (rows, columns), here, parts in found:
        give_to(part_map[:, rows, columns], here, np.isin(np.arange(1, len(part_map)), parts))
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
