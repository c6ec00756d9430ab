"""The small crop around a person in which the registration works, and the way back to the photo's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["View", "crop_person", "interpolate"]

MAP_SIDE = 128
"""Longer side of the registration's maps, in pixels; measured to be enough."""

_MARGIN = 0.06


@dataclass(frozen=True)
class View:
    """A crop: where its map pixels lie in the photo.

    maps: float32 (C, h, w), the part map inside the crop. origin, step: photo position (x, y) of the crop's
    corner, and photo pixels per map pixel in x and y: photo = (map + 0.5) * step + origin - 0.5.
    """

    maps: np.ndarray
    origin: tuple[float, float]
    step: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        return self.maps.shape[1], self.maps.shape[2]

    def to_photo(self, xy: np.ndarray) -> np.ndarray:
        """Map positions (..., 2) as (x, y) -> photo positions, both in pixels with centres at whole
        numbers."""
        return (xy + 0.5) * np.asarray(self.step) + np.asarray(self.origin) - 0.5


def crop_person(part_map: np.ndarray, content: tuple[int, int], photo: tuple[int, int]) -> View:
    """Cut the person out of a part map with a small margin and scale it to `MAP_SIDE`.

    Args:
        part_map: float32 (K+1, h, w). content: its (h, w) that shows the photo. photo: (H, W) of the photo.
    """
    height, width = content
    inside = part_map[:, :height, :width]
    x0, y0, x1, y1 = _box(inside[0] < 0.7)
    margin = max(1, round(_MARGIN * max(y1 - y0, x1 - x0)))
    x0, y0, x1, y1 = (
        max(0, x0 - margin),
        max(0, y0 - margin),
        min(width, x1 + margin),
        min(height, y1 + margin),
    )
    scale = MAP_SIDE / max(y1 - y0, x1 - x0)
    size = (max(8, round((x1 - x0) * scale)), max(8, round((y1 - y0) * scale)))
    cv2 = opencv()
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    maps = np.stack(
        [cv2.resize(np.ascontiguousarray(one[y0:y1, x0:x1]), size, interpolation=how) for one in inside]
    ).reshape(len(inside), size[1], size[0])
    sx, sy = photo[1] / width, photo[0] / height
    return View(maps, (x0 * sx, y0 * sy), ((x1 - x0) * sx / size[0], (y1 - y0) * sy / size[1]))


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    if not mask.any():
        return 0, 0, mask.shape[1], mask.shape[0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def interpolate(values: np.ndarray, view: View, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Evaluate fields on a view's map at whole rows and columns of the photo, smoothly.

    Cubic B-spline weights: continuous second derivatives, so that stripes do not kink at map pixels, and
    linear fields are kept exactly; beyond the crop, fields go on in a straight line.

    Args:
        values: float (h, w, C). rows, columns: photo pixels, (R,) and (S,).

    Returns:
        float32 (R, S, C).
    """
    (x0, y0), (sx, sy) = view.origin, view.step
    across = spline_matrix((columns + 0.5 - x0) / sx - 0.5, values.shape[1])
    down = spline_matrix((rows + 0.5 - y0) / sy - 0.5, values.shape[0])
    planes = [np.ascontiguousarray(values[..., c], np.float32) for c in range(values.shape[2])]
    # not NumPy's product: the threads of its BLAS wait for one another ten times longer on a busy machine
    cv2 = opencv()
    rough = [cv2.gemm(down, plane, 1, None, 0) for plane in planes]
    return np.stack([cv2.gemm(one, across, 1, None, 0, flags=cv2.GEMM_2_T) for one in rough], axis=-1)


def spline_matrix(at: np.ndarray, count: int) -> np.ndarray:
    """Cubic B-spline weights of `count` samples at positions `at` (N,), as a float32 (N, count) matrix."""
    base = np.floor(np.clip(at, 0, count - 1)).astype(int)
    t = np.clip(at, 0, count - 1) - base
    taps = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    out = np.zeros((len(at), count))
    row = np.arange(len(at))
    for offset, weight in zip((-1, 0, 1, 2), taps, strict=True):
        _add_tap(out, row, base + offset, weight)
    beyond = at - np.clip(at, 0, count - 1)  # a straight line from the last two samples
    if count > 1:
        for first, second, side in ((0, 1, beyond < 0), (count - 2, count - 1, beyond > 0)):
            out[side, first] -= beyond[side]
            out[side, second] += beyond[side]
    return out.astype(np.float32)


def _add_tap(out: np.ndarray, row: np.ndarray, column: np.ndarray, weight: np.ndarray) -> None:
    """Add weights; samples beyond the ends are 2 * end - its mirror image, which keeps linear fields."""
    last = out.shape[1] - 1
    inside = (column >= 0) & (column <= last)
    np.add.at(out, (row[inside], column[inside]), weight[inside])
    for end, where in ((0, column < 0), (last, column > last)):
        mirrored = np.clip(2 * end - column[where], 0, last)
        np.add.at(out, (row[where], np.full(where.sum(), end)), 2 * weight[where])
        np.add.at(out, (row[where], mirrored), -weight[where])
