"""Small parts are looked at once more, from near.

Of a photo of somebody whole the net sees a face or a shoe in a few dozen pixels, and the photo has more.
Enlarged, chin and throat, hair and hat, shoe and shadow part where they should; a student learns such views
too. Which parts are looked at a person says (`partswap parts closer`); the model remembers it. Those that
are hard to tell without the body about them, as hands are, had better be left out (docs/research.md). What
the net is unsure of, who lies or bends, it sees no better from near.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from partswap.imaging.frame import Frame, scaled
from partswap.imaging.opencv import opencv
from partswap.turning import is_unsure

__all__ = ["looked_at_closer"]

REACH = 3.0
"""How far the square about a part reaches from its middle, in radii of a disc of its area."""
ZOOM = 2.0
"""How much larger it is seen than in the whole photo."""
BELIEVED = 0.5
"""What is seen from near counts so much, what was seen of the whole photo the rest: only there the net sees
whose head it is."""
SOFT = 0.3
"""Towards the square's sides it counts less, from so much of its reach on."""
LEAST = 0.005
"""Share of the foreground's area; what is smaller may be no such part."""
NEAR = 0.7
"""A square that is larger than this share of the photo's longer side, or wider than the photo, shows nothing
nearer."""
COARSE = 0.5
"""Photos of less than this share of the pixels a side that the net sees are not worth a nearer look."""
LEAST_SIDE = 64
"""Of what the net sees, in pixels: of less, encoders make a map of a single place."""


def looked_at_closer(
    part_map: np.ndarray,
    rgb: np.ndarray,
    frame: Frame,
    closer: Sequence[Sequence[int]],
    run: Callable[[np.ndarray], np.ndarray],
    multiple: int,
) -> np.ndarray:
    """The part map of a photo, averaged about some parts with how these look from near.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background, of the size `frame.net`; rgb:
            uint8 (H, W, 3), the photo; closer: ids of the parts of each kind that is looked at; run: uint8
            (1, s, s, 3) -> float32 (1, K+1, s, s), of an engine; multiple: the net's stride.

    Returns:
        float32 (K+1, h, w); the same where there are no such parts, or the net is unsure of the photo.
    """
    height, width = frame.content
    if not closer or max(frame.photo) < COARSE * max(frame.content) or is_unsure(part_map):
        return part_map
    squares = list(_squares(part_map[:, :height, :width], closer))
    if squares:
        part_map = part_map.copy()
    for rows, columns in squares:
        there = part_map[:, rows, columns]
        seen = _from_near(_cut(rgb, frame, rows, columns), there.shape[1:], run, multiple)
        soft = _softness(rows, height)[:, None] * _softness(columns, width)
        there += BELIEVED * soft * (seen - there)
    return part_map


def _squares(part_map: np.ndarray, closer: Sequence[Sequence[int]]) -> Iterator[tuple[slice, slice]]:
    """Where to look, rows and columns of the part map: about the largest piece of each kind; the square about
    one foot mostly shows the other."""
    cv2 = opencv()
    labels = part_map.argmax(axis=0)
    foreground = np.count_nonzero(labels)
    for kind in closer:
        there = np.isin(labels, kind).astype(np.uint8)
        _, _, stats, middles = cv2.connectedComponentsWithStats(there, connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        largest = int(areas.argmax()) if len(areas) else 0
        area = areas.max(initial=0)
        reach = REACH * math.sqrt(area / math.pi)
        if area > LEAST * foreground and 2 * reach <= min(NEAR * max(labels.shape), min(labels.shape)):
            x, y = middles[1 + largest] + 0.5
            yield _span(y, reach, labels.shape[0]), _span(x, reach, labels.shape[1])


def _span(middle: float, reach: float, size: int) -> slice:
    """What of the photo's rows or columns a square shows: moved into the photo, not cut off by its ends, as
    what would fill it up there looks like no photo to the net."""
    length = max(1, math.floor(2 * reach))
    start = min(max(0, round(middle - length / 2)), size - length)
    return slice(start, start + length)


def _cut(rgb: np.ndarray, frame: Frame, rows: slice, columns: slice) -> np.ndarray:
    """What of the photo the part map shows there: uint8 (H, W, 3), at least a pixel of it."""
    spans = []
    for span, photo, content in zip((rows, columns), frame.photo, frame.content, strict=True):
        start = min(round(span.start * photo / content), photo - 1)
        spans.append(slice(start, max(start + 1, round(span.stop * photo / content))))
    return rgb[spans[0], spans[1]]


def _from_near(
    cut: np.ndarray, size: tuple[int, ...], run: Callable[[np.ndarray], np.ndarray], multiple: int
) -> np.ndarray:
    """The part map of a piece of a photo as the net sees it enlarged: float32 (K+1, *size)."""
    side = multiple * max(math.ceil(LEAST_SIDE / multiple), round(ZOOM * max(size) / multiple))
    seen = run(np.ascontiguousarray(scaled(cut, (side, side)))[None])[0]
    return np.stack([scaled(one, (size[0], size[1])) for one in seen])


def _softness(span: slice, size: int) -> np.ndarray:
    """How much what is seen in each row or column counts, float32 in [0, 1]: all of it in the middle, little
    at the square's ends, where these are not the photo's own."""
    places = np.arange(span.start, span.stop) + 0.5
    ends = [places - span.start] * (span.start > 0) + [span.stop - places] * (span.stop < size)
    soft = SOFT * (span.stop - span.start) / 2
    return np.minimum.reduce([np.ones(len(places)), *(end / soft for end in ends)]).astype(np.float32)
