"""What to show where the source shows nothing: mirror about the part's border, then pull-push.

Mirroring keeps texture (a stripe goes on as its own reflection); pull-push (Gortler et al. 1996) averages
what is known over ever larger pixels and smooths it back in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["FILLED", "MIRRORED", "REAL", "Cleaned", "clean", "pull_push"]

REAL, MIRRORED, FILLED = 0, 1, 2
"""Where a pixel's colour comes from."""

_FILL_SIDE = 384
_GRAIN = 3.0  # largest standard deviation of the grain on filled pixels, in levels


@dataclass(frozen=True)
class Cleaned:
    """A photo that shows nothing but one part: rgb uint8 (h, w, 3) and its origin uint8 (h, w)."""

    rgb: np.ndarray
    origin: np.ndarray


def clean(rgb: np.ndarray, valid: np.ndarray, reach: float, rng: np.random.Generator) -> Cleaned:
    """Replace everything that is not the part by what the part would go on with.

    Args:
        rgb: uint8 (h, w, 3). valid: bool (h, w), pixels that surely show the part, at least one.
        reach: distance in pixels up to which mirroring looks believable.
    """
    cv2 = opencv()
    out = rgb.copy()
    origin = np.where(valid, REAL, FILLED).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    _mirror(out, origin, valid, (distance > 0) & (distance <= reach), nearest)
    hole = origin == FILLED
    if hole.any():
        smooth = pull_push(out, ~hole)
        grain = min(_GRAIN, _roughness(out, valid))
        noise = rng.normal(0, grain, (int(hole.sum()), 1)).astype(np.float32)
        out[hole] = np.clip(np.rint(smooth[hole] + noise), 0, 255)
    return Cleaned(out, origin)


def _mirror(
    out: np.ndarray, origin: np.ndarray, valid: np.ndarray, wanted: np.ndarray, nearest: np.ndarray
) -> None:
    """Fill `wanted` pixels from their reflection about the nearest valid pixel, where that is valid."""
    y, x = np.nonzero(wanted)
    if not len(y):
        return
    place = np.zeros((int(nearest.max()) + 1, 2), np.int32)
    rows, columns = np.nonzero(valid)
    place[nearest[rows, columns]] = np.stack([rows, columns], axis=1)
    there = 2 * place[nearest[y, x]] - np.stack([y, x], axis=1)
    inside = (there >= 0).all(axis=1) & (there < valid.shape).all(axis=1)
    there = np.clip(there, 0, np.array(valid.shape) - 1)
    good = inside & valid[there[:, 0], there[:, 1]]
    out[y[good], x[good]] = out[there[good, 0], there[good, 1]]
    origin[y[good], x[good]] = MIRRORED


def _roughness(rgb: np.ndarray, valid: np.ndarray) -> float:
    cv2 = opencv()
    luma = rgb.mean(axis=2, dtype=np.float32)
    fine = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 1.0))[valid]
    return float(np.median(fine)) * 1.5 if fine.size else 0.0


def pull_push(rgb: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Smoothly continue the known pixels over the others.

    Args:
        rgb: uint8 (h, w, 3). known: bool (h, w).

    Returns:
        float32 (h, w, 3); worked out at a bounded size, so known pixels come back blurred. Mid grey where
        nothing at all is known.
    """
    cv2 = opencv()
    height, width = known.shape
    scale = min(1.0, _FILL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    weight = known.astype(np.float32)
    pixels = rgb.astype(np.float32) * weight[..., None]
    levels = [_premultiplied(pixels, weight, size)]
    while max(levels[-1].shape[:2]) > 1:
        h, w = levels[-1].shape[:2]
        half = (max(1, (w + 1) // 2), max(1, (h + 1) // 2))
        smaller = cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)
        # a pixel that is half known is known: the weight saturates, or thin parts would fade away
        levels.append(smaller * (np.minimum(1, 2 * smaller[..., 3:]) / np.maximum(smaller[..., 3:], 1e-6)))
    out = levels[-1].reshape(*levels[-1].shape[:2], 4)
    result = (
        out[..., :3] / np.maximum(out[..., 3:], 1e-6) if out[..., 3].max() > 1e-6 else out[..., :3] + 127.5
    )
    for level in levels[-2::-1]:
        h, w = level.shape[:2]
        coarse = cv2.resize(result, (w, h), interpolation=cv2.INTER_LINEAR).reshape(h, w, 3)
        result = level[..., :3] + (1 - level[..., 3:]) * coarse
    return cv2.resize(result, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)


def _premultiplied(pixels: np.ndarray, weight: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    stacked = np.dstack([pixels, weight])
    return opencv().resize(stacked, size, interpolation=opencv().INTER_AREA).reshape(size[1], size[0], 4)
