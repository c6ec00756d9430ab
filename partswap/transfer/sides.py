"""Left and right: tell the two halves of a paired part apart.

A model may give mirror images one id (both arms are `arm`), but a limb's position and covariance only mean
something for one limb. The body's axis is the line along the centres of all parts (the mean of two arms lies
on it too); the two halves are named by the side of the photo, since the look of a garment seen from behind
still belongs left on the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["Axis", "body_axis", "is_paired", "split"]

_PRESENT = 0.4
_SHARE = 0.2  # of the part: a smaller component is a crumb, not the other limb
_ABOVE = 1.5  # along over across: from here on two pieces lie one above the other
_UPRIGHT = 0.15  # weight of the prior that people stand


@dataclass(frozen=True)
class Axis:
    """The body's line: a point on it, and its unit normal that points to the right of the photo."""

    point: np.ndarray
    normal: np.ndarray

    def side(self, xy: np.ndarray) -> np.ndarray:
        """Signed distance (..., ) of positions (..., 2), positive to the right."""
        return (xy - self.point) @ self.normal

    def mirror(self) -> np.ndarray:
        """The 2x2 reflection in the axis's direction."""
        return np.eye(2) - 2 * np.outer(self.normal, self.normal)


def body_axis(maps: np.ndarray) -> Axis:
    """The line along the centres of the parts.

    Args:
        maps: float (K+1, h, w) of one person.
    """
    grid = positions(maps.shape[1:])
    mass = maps[1:].reshape(len(maps) - 1, -1)
    weight = mass.sum(axis=1)
    if weight.sum() < 1:
        return Axis(grid.mean(axis=0), np.array([1.0, 0.0]))
    centres = mass @ grid / np.maximum(weight, 1e-6)[:, None]
    point, direction = (weight[:, None] * centres).sum(axis=0) / weight.sum(), np.array([0.0, 1.0])
    for _ in range(5):  # reweighted, or one visible arm would pull the line aside
        normal = np.array([direction[1], -direction[0]])
        off = np.abs((centres - point) @ normal)
        w = weight / (1 + (off / (0.05 * maps.shape[1])) ** 2)
        point = (w[:, None] * centres).sum(axis=0) / w.sum()
        d = centres - point
        scatter = (w[:, None] * d).T @ d / w.sum()
        scatter[1, 1] += _UPRIGHT * (0.2 * maps.shape[1]) ** 2
        direction = np.linalg.eigh(scatter)[1][:, 1]
        direction = direction if direction[1] > 0 else -direction
    return Axis(point, np.array([direction[1], -direction[0]]))


def is_paired(channel: np.ndarray, axis: Axis) -> bool:
    """Whether a part, float (h, w), shows as two limbs: two large components that are not pieces of one."""
    return len(_limbs(channel, axis)) == 2


def split(channel: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Divide a paired part into its left and right half: two float (h, w) that add up to it.

    Two limbs go by the order of their centres across the axis; one that lies on one side is that half, and
    one that lies on both (legs that touch) is cut at the axis.
    """
    side = axis.side(positions(channel.shape)).reshape(channel.shape)
    limbs = _limbs(channel, axis)
    if len(limbs) == 2:
        first, second = sorted(limbs, key=lambda mask: float(side[mask].mean()))
        right = _closer(second, first)
    elif limbs and _one_sided(side[limbs[0]]):
        right = np.full(channel.shape, side[limbs[0]].mean() > 0)
    else:
        right = side > 0
    return np.where(right, 0, channel), np.where(right, channel, 0)


def _limbs(channel: np.ndarray, axis: Axis) -> list[np.ndarray]:
    """The limbs of a part, bool (h, w): its two largest components, or both as one where they are pieces of
    the same limb (one above the other on one side, a sleeve cut by a strap)."""
    components = _components(channel)[:2]
    if len(components) < 2:
        return components
    grid = positions(channel.shape)
    centres = np.stack([grid[mask.ravel()].mean(axis=0) for mask in components])
    across = axis.side(centres)
    along = (centres - axis.point) @ np.array([-axis.normal[1], axis.normal[0]])
    one_side = across[0] * across[1] > 0
    if one_side and abs(along[1] - along[0]) > _ABOVE * abs(across[1] - across[0]):
        return [components[0] | components[1]]
    return components


def positions(size: tuple[int, ...]) -> np.ndarray:
    """Pixel positions (h * w, 2) as (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def _components(channel: np.ndarray) -> list[np.ndarray]:
    cv2 = opencv()
    count, labels, stats, _ = cv2.connectedComponentsWithStats((channel > _PRESENT).astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count == 1:
        return []
    order = np.argsort(-areas, kind="stable")
    return [labels == i + 1 for i in order if areas[i] >= _SHARE * areas.sum()]


def _one_sided(side: np.ndarray) -> bool:
    right = float((side > 0).mean())
    return min(right, 1 - right) < _SHARE


def _closer(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    one, other = (cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) for mask in (first, second))
    return one < other
