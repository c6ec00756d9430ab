"""How much of each target pixel belongs to the chosen parts: a matte with the photo's own borders.

The net's maps are soft and a few pixels off; a guided filter with the photo as guide (see
``partswap.imaging.guided``) snaps the person's outline to the photo's edges. Which share of the person
the chosen parts are is worked out apart: where one part ends and the next begins, a garment often goes
on, and one filter for both questions would leave a rim of the old look along the outline. Deep inside the
parts the matte is one, further than the allowed border outside it is zero, whatever the filter thinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.frame import Frame
from partswap.imaging.guided import EPSILON, guided, guided_coefficients
from partswap.imaging.opencv import opencv

__all__ = [
    "OUTLINE_PLANES",
    "Limits",
    "border_width",
    "limits",
    "matte",
    "outline",
    "part_matte",
    "working_frame",
]

OUTLINE_PLANES = 6
"""Of `outline`: 4 coefficients, where the person is for sure, and the parts' share of the person."""

WORK_SIDE = 832
"""Longer side, in pixels, of the picture on which mattes and fills are computed."""

_RADIUS = 12 / 830  # of the guided filter, in longer sides
_CORE = (6 / 800, 11 / 800)  # inside distance from which the matte is forced up to one, in longer sides
_FALL = 1.7  # how steeply the upper limit falls outside the hard mask; 1 is from its rim on
_GAIN = 1.35  # the filter's edges are softer than a garment's
_SEAM = 3.0  # how steeply the share changes where two parts of the person meet
_SEAM_EPSILON = 3e-3  # a seam follows strong edges only: a pattern's would fray it
_NEAR, _FAR = 1.5, 12.0  # blurs, in working pixels, of the share: on the person, and continued around it


def border_width(photo: tuple[int, int], border: float | None = None) -> float:
    """How far outside the parts pixels may change.

    Args:
        photo: (H, W). border: in pixels at 800 px height, 0..4; None is 3. Below 800 px it is not scaled
            down to less than one pixel.

    Returns:
        Pixels of this photo, at most 4 below and at 800 px height, in proportion above.
    """
    wanted = 3.0 if border is None else border
    if wanted <= 0:
        return 0.0
    return max(1.0, wanted * max(photo[0], 200) / 800)


def working_frame(photo: tuple[int, int]) -> Frame:
    """The frame that carries planes of the working size to the photo, strip by strip."""
    scale = min(1.0, WORK_SIDE / max(photo))
    small = (max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale)))
    return Frame(photo, small, small)


def matte(coefficients: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Apply coefficients (4, h, w) to uint8 (h, w, 3): float32 (h, w), 0..1."""
    return np.clip((guided(coefficients, rgb) - 0.5) * _GAIN + 0.5, 0, 1)


def outline(rgb: np.ndarray, person: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What the matte of some parts of a person is made of.

    Args:
        rgb: uint8 (h, w, 3). person, chosen: float32 (h, w), 0..1, how likely the person is there, and how
            much of that the chosen parts are.

    Returns:
        float32 (OUTLINE_PLANES, h, w).
    """
    cv2 = opencv()
    radius = max(1, round(_RADIUS * max(person.shape)))
    coefficients = guided_coefficients(rgb, person, radius, EPSILON)
    sure = limits(person > 0.5, 0).lower.astype(np.float32) / 255
    parts = [np.full(person.shape, 1e-12, np.float32) for _ in range(2)]
    for blur, weight in ((_NEAR, 1.0), (_FAR, 1e-3)):
        for total, plane in zip(parts, (chosen, person), strict=True):
            total += weight * cv2.GaussianBlur(plane, (0, 0), blur)
    share = parts[0] / parts[1]
    if share.min() < 0.999:
        snapped = guided_coefficients(rgb, share, radius, _SEAM_EPSILON)
        share = snapped[3] + np.einsum("chw,hwc->hw", snapped[:3], rgb.astype(np.float32) / 255)
    share = np.clip((share - 0.5) * _SEAM + 0.5, 0, 1)
    return np.concatenate([coefficients, sure[None], share[None]])


def part_matte(planes: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Apply an outline (OUTLINE_PLANES, h, w) to uint8 (h, w, 3): float32 (h, w), 0..1."""
    return np.maximum(matte(planes[:4], rgb), planes[4]) * np.clip(planes[5], 0, 1)


@dataclass(frozen=True)
class Limits:
    """Between what the matte may lie, at the photo's size: uint8 (H, W) each, 0..255."""

    lower: np.ndarray
    upper: np.ndarray

    def clamp(self, values: np.ndarray, rows: slice) -> np.ndarray:
        """Float matte (R, W) of some rows, between its limits."""
        lower = self.lower[rows].astype(np.float32) / 255
        upper = self.upper[rows].astype(np.float32) / 255
        return np.minimum(np.maximum(values, lower), upper)


def limits(mask: np.ndarray, border: float) -> Limits:
    """Limits from the hard mask of the chosen parts.

    Args:
        mask: bool (H, W). border: pixels outside it that may change; there the upper limit falls to zero.
    """
    cv2 = opencv()
    side = max(mask.shape)
    inside = cv2.distanceTransform(_bordered(mask), cv2.DIST_L2, 5)[1:-1, 1:-1]
    start, full = (share * side for share in _CORE)
    lower = (255 * np.clip((np.minimum(inside, side) - start) / (full - start), 0, 1)).astype(np.uint8)
    del inside
    if border <= 0:
        return Limits(lower, mask.astype(np.uint8) * np.uint8(255))
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    upper = np.rint(255 * np.clip(_FALL * (1 + 0.5 / border - outside / border), 0, 1)).astype(np.uint8)
    upper[outside > border] = 0
    if not mask.any():
        upper[:] = 0
    return Limits(lower, upper)


def _bordered(mask: np.ndarray) -> np.ndarray:
    """The mask continued over the photo's edge, which cuts parts but does not end them."""
    return np.pad(mask.astype(np.uint8), 1, mode="edge")
