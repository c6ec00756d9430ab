"""Borders from the photo: the guided filter, and label maps whose outline follows the photo's own edges.

The net sees a photo at a few hundred pixels, so its outline is a pixel or more off, which the eye notices at
the photo's own size. A guided filter (He, Sun, Tang, Guided Image Filtering, ECCV 2010) with the photo as
guide puts it where the colours change. Its coefficients are found on a small photo and applied to the full
one (He and Sun, Fast Guided Filter, 2015), so a large photo costs little.
"""

from __future__ import annotations

import numpy as np

from partswap.imaging.frame import Frame, scaled
from partswap.imaging.opencv import opencv

__all__ = ["EPSILON", "foreground_share", "guided", "guided_coefficients", "snapped_labels"]

_RADIUS = 4
EPSILON = 1e-3
"""Of the outline: window radius in pixels of the net, and variance of colour below which an edge is none.
Radii from 2 to 6 and variances from 1e-2 to 1e-4 do about as well (docs/research.md)."""
_HANDICAP = 0.05
"""Of the background: the filter may make foreground of whatever is at least this likely beside it."""


def guided_coefficients(rgb: np.ndarray, guess: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Fit `guess` as a linear function of the colour in every window.

    Args:
        rgb: uint8 (h, w, 3). guess: float32 (h, w), 0..1. radius: of the windows, in pixels, at least 1.
            epsilon: variance of colour (of 0..1) below which an edge is none.

    Returns:
        float32 (4, h, w): a_r, a_g, a_b, b, smoothed, for `guided`.
    """
    cv2 = opencv()
    size = 2 * radius + 1

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.blur(plane, (size, size), borderType=cv2.BORDER_REFLECT)

    guide = rgb.astype(np.float32) / 255
    middle, level = mean(guide), mean(guess)
    covary = mean(guide * guess[..., None]) - middle * level[..., None]
    r, g, b = (guide[..., c] for c in range(3))
    m = [middle[..., c] for c in range(3)]
    rr, gg, bb = (mean(c * c) - k * k + epsilon for c, k in zip((r, g, b), m, strict=True))
    rg, rb, gb = mean(r * g) - m[0] * m[1], mean(r * b) - m[0] * m[2], mean(g * b) - m[1] * m[2]
    # the inverse of the symmetric 3x3 covariance, by cofactors
    c0, c1, c2 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    det = rr * c0 + rg * c1 + rb * c2
    c3, c4, c5 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    x, y, z = (covary[..., c] for c in range(3))
    slope = np.stack([c0 * x + c1 * y + c2 * z, c1 * x + c3 * y + c4 * z, c2 * x + c4 * y + c5 * z], -1)
    slope /= np.maximum(det, 1e-12)[..., None]
    offset = level - (slope * middle).sum(axis=-1)
    return np.concatenate([mean(slope).transpose(2, 0, 1), mean(offset)[None]])


def guided(coefficients: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Apply coefficients (4, h, w) to uint8 (h, w, 3): float32 (h, w), about 0..1."""
    out = coefficients[3].copy()
    for c in range(3):
        out += coefficients[c] * (rgb[..., c].astype(np.float32) / 255)
    return out


def foreground_share(part_map: np.ndarray) -> np.ndarray:
    """How much the likeliest part outweighs the background: float (K+1, h, w) -> float32 (h, w), above a half
    where the arg max is a part."""
    best = part_map[1:].max(axis=0).astype(np.float32)
    share: np.ndarray = best / (best + part_map[0] + 1e-9)
    return share


def snapped_labels(rgb: np.ndarray, part_map: np.ndarray, frame: Frame) -> np.ndarray:
    """The label map at the photo's size, its outline snapped to the photo's edges.

    Where there is foreground, the part is the likeliest one; whether there is comes from the guided filter
    over how much the likeliest part outweighs the background.

    Args:
        rgb: uint8 (H, W, 3), the photo; part_map: float (K+1, h, w) of ``frame.net`` size, channel 0 is
            background.

    Returns:
        uint8 (H, W), 0 background, 1..K parts.
    """
    height, width = frame.content
    share = foreground_share(part_map[:, :height, :width])
    coefficients = guided_coefficients(scaled(rgb, frame.content), share, _RADIUS, EPSILON)
    rivals = np.array(part_map, np.float32)
    rivals[0] *= _HANDICAP
    labels = frame.labels(rivals)
    padding = ((0, 0), (0, frame.net[0] - height), (0, frame.net[1] - width))
    for top, strip in frame.undo(np.pad(coefficients, padding)):
        rows = slice(top, top + strip.shape[1])
        labels[rows][guided(strip, rgb[rows]) <= 0.5] = 0
    return labels
