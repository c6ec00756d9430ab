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
_CRUMB = 0.01  # of it: a smaller one must all but touch the person, and so must one beside it
_NEAR, _TOUCHING = 0.06, 0.012  # of the person's height
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
    # as the label map sees it: between parts that share a pixel, half of it may be background's
    foreground = (inside[1:].max(axis=0) > inside[0]).astype(np.float32)
    masks = people_masks(foreground)
    if person > max(1, len(masks)) or person < 1:
        found = "nobody" if not masks else f"{len(masks)}"
        raise UsageError(f"there is no person {person}: the photo shows {found}, counted from the main one")
    kept = inside.copy()
    if masks:
        own, others = _divided(foreground, masks, person - 1)
        if others.any():
            _fade(kept, _nearest([own, others]) == 0)
    out[:, :height, :width] = kept
    return out


def _divided(foreground: np.ndarray, masks: list[np.ndarray], index: int) -> tuple[np.ndarray, np.ndarray]:
    """What belongs to one person, fragments included, and all other foreground: bool (h, w) twice.

    A crumb that lies apart from everybody is a passer-by's, or a mistake: it is nobody's.
    """
    cv2 = opencv()
    count, labels = cv2.connectedComponents((foreground > _FOREGROUND).astype(np.uint8), connectivity=8)
    own = masks[index].copy()
    for label in range(1, count):
        component = labels == label
        if any((component & mask).any() for mask in masks):
            continue
        if _is_fragment(component, [masks[index]]):
            own |= component
    return own, (labels > 0) & ~own


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
        rows, columns = np.flatnonzero(person.any(axis=1)), np.flatnonzero(person.any(axis=0))
        middle = np.nonzero(component)[1].mean()
        beside = not columns[0] <= middle <= columns[-1]
        crumb = component.sum() < _CRUMB * person.sum()
        near = _TOUCHING if crumb or beside else _NEAR
        reach = max(2.0, near * (rows[-1] - rows[0] + 1))
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
