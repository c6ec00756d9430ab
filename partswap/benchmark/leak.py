"""Does appearance leak into the parts? Label maps of one photo under changed colours and under a warp,
compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

# Linear map between RGB and luma plus two chroma axes (YIQ); turning the chroma plane turns the hue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def jitter_colours(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A photo (H, W, 3) uint8 with brightness and contrast x0.7..1.3, saturation x0.5..1.5 and the hue turned
    by up to 36 degrees.
    """
    brightness, contrast = rng.uniform(0.7, 1.3, 2)
    saturation, angle = rng.uniform(0.5, 1.5), np.deg2rad(rng.uniform(-36, 36))
    cos, sin = saturation * np.cos(angle), saturation * np.sin(angle)
    turn = _RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ
    changed = rgb.astype(np.float32) @ (brightness * turn).T.astype(np.float32)
    mean = changed.mean()
    return (mean + contrast * (changed - mean)).clip(0, 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Warp:
    """A smooth warp of the plane as a sampling grid: output pixel (y, x) shows input position `grid[:, y, x]`
    (2, H, W) in pixels.
    """

    grid: NDArray[np.float64]

    @classmethod
    def random(cls, height: int, width: int, rng: np.random.Generator) -> Warp:
        """Turn by up to 15 degrees, scale 0.85..1.15, shift by up to 5 % of each side, and two sine waves of
        up to 2 % of the longer side.
        """
        angle, scale = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(0.85, 1.15)
        shift = rng.uniform(-0.05, 0.05, 2) * (height, width)
        y = (np.arange(height) - (height - 1) / 2)[:, None]
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        side = max(height, width)
        amplitude, phase = rng.uniform(0, 0.02, 2) * side, rng.uniform(0, 2 * np.pi, 2)
        # One wave along each axis, one and a half periods over the longer side: bends limbs without folding.
        wave_y = amplitude[0] * np.sin(3 * np.pi * x / side + phase[0])
        wave_x = amplitude[1] * np.sin(3 * np.pi * y / side + phase[1])
        rows = (np.cos(angle) * y - np.sin(angle) * x) / scale + (height - 1) / 2 + shift[0] + wave_y
        columns = (np.sin(angle) * y + np.cos(angle) * x) / scale + (width - 1) / 2 + shift[1] + wave_x
        return cls(np.stack([rows, columns]))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Output pixels (H, W) that show a place inside the input."""
        limits = np.array(self.grid.shape[1:])[:, None, None] - 1
        return np.logical_and.reduce((self.grid >= 0) & (self.grid <= limits), axis=0)

    def photo(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A photo (H, W, 3) uint8 warped, bilinear, its border repeated outside."""
        planes = [
            map_coordinates(rgb[..., c], self.grid, np.float32, order=1, mode="nearest") for c in range(3)
        ]
        return np.stack(planes, axis=-1).round().astype(np.uint8)

    def labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A label map (H, W) uint8 warped, nearest neighbour."""
        rows, columns = self.grid.round().astype(np.intp)
        return labels[rows.clip(0, labels.shape[0] - 1), columns.clip(0, labels.shape[1] - 1)]


def disagreement(
    first: NDArray[np.uint8], second: NDArray[np.uint8], where: NDArray[np.bool_] | None = None
) -> float:
    """Share of foreground pixels with different ids, 0..1; foreground is where either label map (H, W) shows
    a part.

    `where` bool (H, W) restricts the comparison. NaN if there is no foreground.
    """
    foreground = (first > 0) | (second > 0)
    if where is not None:
        foreground &= where
    total = int(foreground.sum())
    return float((first != second)[foreground].sum() / total) if total else float("nan")
