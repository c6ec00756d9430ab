"""Keypoint agreement: the percentage of correct keypoints (PCK)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLDS = (0.025, 0.05, 0.1)


def normalised_distances(predicted: ArrayLike, truth: ArrayLike, sizes: ArrayLike) -> NDArray[np.float64]:
    """Distance of every keypoint from its truth, in units of the longer image side: (N, J) float64.

    predicted, truth: (N, J, 2) pixel coordinates x, y; sizes: (N, 2) width and height of each image in
    pixels. NaN coordinates give NaN.
    """
    p, t, size = (np.asarray(a, np.float64) for a in (predicted, truth, sizes))
    if p.shape != t.shape or p.ndim != 3 or p.shape[2] != 2:
        raise ValueError(f"keypoints must both be (N, J, 2), not {p.shape} and {t.shape}")
    if size.shape != (p.shape[0], 2) or not (size > 0).all():
        raise ValueError(f"sizes must be {(p.shape[0], 2)} positive widths and heights")
    distances: NDArray[np.float64] = np.linalg.norm(p - t, axis=2) / size.max(1)[:, None]
    return distances


def pck(
    predicted: ArrayLike,
    truth: ArrayLike,
    sizes: ArrayLike,
    visible: ArrayLike | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> NDArray[np.float64]:
    """Share of keypoints within `threshold` of the longer image side: (T,) float64 in 0..1, pooled over
    images and joints.

    predicted, truth: (N, J, 2) pixels x, y; sizes: (N, 2) width, height; visible: (N, J) bool, True where the
    truth counts (default: everywhere that the truth is not NaN). A distance that equals the threshold counts
    as correct. A keypoint that was not found (predicted NaN) is a miss. NaN for every threshold if nothing
    counts. PROTOCOL: shape consistency at 2.5, 5 and 10 % (Braun, Esser, Ommer 2020).
    """
    distances = normalised_distances(predicted, truth, sizes)
    counted = ~np.isnan(np.asarray(truth, np.float64)).any(2)
    if visible is not None:
        shown = np.asarray(visible, bool)
        if shown.shape != distances.shape:
            raise ValueError(f"visible must be {distances.shape}, not {shown.shape}")
        counted &= shown
    if not counted.any():
        return np.full(len(thresholds), np.nan)
    limits = np.asarray(thresholds, np.float64)
    # Coordinates come from divisions, so a distance that is the threshold on paper may be an ulp above it.
    correct = np.nan_to_num(distances[counted], nan=np.inf)[:, None] <= limits + 1e-12
    return correct.mean(0)
