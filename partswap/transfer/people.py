"""Whose parts: keep one person of a part map, make everyone else background.

Passers-by must never lend or receive clothes, and the moments of a part are meaningless when it belongs to
two people. People are told apart by connected foreground; small fragments near a person (a foot behind a
dark sock, an arm cut off by a strap) stay with it.
"""

from __future__ import annotations

import numpy as np

from partswap.errors import UsageError
from partswap.imaging.opencv import opencv

__all__ = ["keep_person", "people_masks"]

_FOREGROUND = 0.5
_SMALLEST = 0.03  # of the largest component: below it is a fragment, not a person
_FRAGMENT = 0.2  # of a person's area: a component near a person, and smaller than that, is a piece of it
_NEAR = 0.06  # of the person's height
_CENTRAL = 0.35  # width of the preference for the middle, in photo widths


def keep_person(part_map: np.ndarray, content: tuple[int, int], person: int = 1) -> np.ndarray:
    """Return the part map with everybody but one person turned into background.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background.
        content: (h, w) of it that shows the photo; the rest is the net's padding and becomes background.
        person: 1 the main one (large and central), 2 the next, and so on.

    Returns:
        float32 (K+1, h, w). A photo without anybody stays as it is (padding aside).

    Raises:
        UsageError: there are fewer people than that.
    """
    out = np.zeros_like(part_map)
    out[0] = 1
    height, width = content
    inside = part_map[:, :height, :width]
    masks = people_masks(1 - inside[0])
    if person > max(1, len(masks)) or person < 1:
        found = "nobody" if not masks else f"{len(masks)}"
        raise UsageError(f"there is no person {person}: the photo shows {found}, counted from the main one")
    kept = inside.copy()
    if len(masks) > 1:
        _fade(kept, _nearest(masks) == person - 1)
    out[:, :height, :width] = kept
    return out


def people_masks(foreground: np.ndarray) -> list[np.ndarray]:
    """Tell people apart: bool (h, w) masks, the main one first.

    Args:
        foreground: float (h, w), probability that a pixel belongs to anybody.
    """
    cv2 = opencv()
    count, labels, stats, centres = cv2.connectedComponentsWithStats(
        (foreground > _FOREGROUND).astype(np.uint8), connectivity=8
    )
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0
    if count == 1:
        return []
    off = np.abs(centres[:, 0] / foreground.shape[1] - 0.5)
    order = np.argsort(-areas * np.exp(-((off / _CENTRAL) ** 2)), kind="stable")
    people: list[np.ndarray] = []
    for index in order:
        if areas[index] < max(1.0, _SMALLEST * areas.max()):
            continue
        component = labels == index
        if not _is_fragment(component, people):
            people.append(component)
    return people


def _is_fragment(component: np.ndarray, people: list[np.ndarray]) -> bool:
    cv2 = opencv()
    for person in people:
        if component.sum() > _FRAGMENT * person.sum():
            continue
        rows = np.flatnonzero(person.any(axis=1))
        reach = _NEAR * (rows[-1] - rows[0] + 1)
        distance = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5)
        if distance[component].min() <= reach:
            return True
    return False


def _nearest(masks: list[np.ndarray]) -> np.ndarray:
    """The index of the nearest person for every pixel, int (h, w): soft borders go with their person."""
    cv2 = opencv()
    distances = [cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) for mask in masks]
    return np.argmin(np.stack(distances), axis=0)


def _fade(part_map: np.ndarray, keep: np.ndarray) -> None:
    """Make background of what is not kept, in place."""
    part_map[1:, ~keep] = 0
    part_map[0, ~keep] = 1
