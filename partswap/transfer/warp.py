"""Take the source's own pixels from where the field says, without aliasing.

Each part is cut out of the source once, cleaned of its surroundings, and reduced to about the target's
scale by area; what the field still shrinks locally is read from a small pyramid with steps of sqrt(2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["Patch", "field_scale", "patch_box"]

_STEP = np.sqrt(2.0)
_SHARP = 1.2  # reductions below it alias less than an area average would blur
_TALLEST = 5  # levels: a garment that shrinks more than fourfold within itself is folded anyway


def field_scale(field: np.ndarray, step: tuple[float, float]) -> np.ndarray:
    """Source photo pixels per target photo pixel, float32 (h, w).

    Args:
        field: (h, w, 2), source photo positions at the target's map pixels. step: target photo pixels per
            map pixel, in x and y.
    """
    height, width = field.shape[:2]
    if height < 2 or width < 2:
        return np.ones((height, width), np.float32)
    by_y, by_x = np.gradient(field, axis=(0, 1))
    by_x, by_y = by_x / step[0], by_y / step[1]
    det = np.abs(by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0])
    return np.sqrt(np.maximum(det, 1e-4)).astype(np.float32)


def patch_box(mask: np.ndarray, margin: float) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of bool (H, W) with a margin in pixels, inside the photo."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    m = int(np.ceil(margin))
    return (
        max(0, int(columns[0]) - m),
        max(0, int(rows[0]) - m),
        min(mask.shape[1], int(columns[-1]) + 1 + m),
        min(mask.shape[0], int(rows[-1]) + 1 + m),
    )


def reduction(scale: np.ndarray, weight: np.ndarray) -> float:
    """By which factor to reduce the source before anything else: at most what nearly all of the part wants.

    Args:
        scale: float (h, w), see `field_scale`. weight: float (h, w), where the part is.
    """
    here = scale[weight > 0.5]
    if not here.size:
        return 1.0
    factor = float(np.quantile(here, 0.15))
    return factor if factor > _SHARP else 1.0


@dataclass(frozen=True)
class Patch:
    """A cut-out of the source that can be read anywhere.

    levels: uint8 pictures, each `_STEP` smaller than the one before. corner: photo position (x, y) of the
    first one's corner. factor: photo pixels per pixel of the first, in x and y.
    """

    levels: tuple[np.ndarray, ...]
    corner: tuple[float, float]
    factor: tuple[float, float]

    @classmethod
    def of(
        cls, rgb: np.ndarray, corner: tuple[float, float], factor: tuple[float, float], scale: float
    ) -> Patch:
        """Build the pyramid of uint8 (h, w, 3); scale: the largest local reduction that reads will ask
        for."""
        cv2 = opencv()
        count = int(np.clip(np.ceil(np.log(max(scale / max(factor), 1.0)) / np.log(_STEP)), 0, _TALLEST))
        levels = [rgb]
        for k in range(1, count + 1):
            size = tuple(max(1, round(side / _STEP**k)) for side in rgb.shape[1::-1])
            levels.append(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], 3))
        return cls(tuple(levels), corner, factor)

    def read(self, at: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Colours at source photo positions.

        Args:
            at: float32 (R, S, 2), (x, y). scale: float32 (R, S), photo pixels of the source per target
                pixel.

        Returns:
            float32 (R, S, 3), 0..255; beyond the patch its edge goes on.
        """
        local = (at + 0.5 - np.asarray(self.corner, np.float32)) / np.asarray(self.factor, np.float32) - 0.5
        level = np.log(np.maximum(scale / max(self.factor), 1e-3)) / np.log(_STEP)
        level = np.clip(level - 0.5, 0, len(self.levels) - 1)  # half a level sharper: cubic reads blur little
        out = np.zeros((*at.shape[:2], 3), np.float32)
        for index, picture in enumerate(self.levels):
            share = np.clip(1 - np.abs(level - index), 0, 1)
            if not share.any():
                continue
            out += share[..., None].astype(np.float32) * self._remap(picture, local)
        return out

    def _remap(self, picture: np.ndarray, local: np.ndarray) -> np.ndarray:
        cv2 = opencv()
        ratio = np.array([picture.shape[1], picture.shape[0]], np.float32) / np.array(
            [self.levels[0].shape[1], self.levels[0].shape[0]], np.float32
        )
        at = ((local + 0.5) * ratio - 0.5).astype(np.float32)
        return cv2.remap(
            picture,
            np.ascontiguousarray(at[..., 0]),
            np.ascontiguousarray(at[..., 1]),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ).astype(np.float32)
