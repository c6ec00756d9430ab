"""How far a warp can be believed, pixel by pixel.

Where two poses differ too much, the registration has to stretch, fold, or look into another part. Measured on
pairs of one person, these three say where the source's pixels are worse than the renderer's soft guess. Some
stretch alone, or a little disagreement alone, is no reason for doubt: a wide skirt that becomes trousers is
squeezed, and its pattern is still the right one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from partswap.imaging.opencv import opencv
from partswap.transfer.view import View

__all__ = ["trust"]

_STRETCH = (1.2, 3.0)  # larger over smaller local scale: full trust, and none
_AGREES = (0.95, 0.6)  # share of a pixel's parts that the source shows where it looks: full trust, and none
_SMEARED = (4.0, 10.0)  # stretch that is not to be believed whatever the parts say
_FOREGROUND = 0.3  # a pixel that is hardly the person's says little
_SOFT = 1.0  # blur in map pixels: trust changes over a few pixels, or seams show


def trust(source: View, target: View, field: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Return how far the field can be believed: float32 (h, w), 0 (not at all) .. 1.

    Args:
        field: float (h, w, 2), source map position of each pixel of the target's map. groups: channels that
            make up one named part each; mixing up two of one group does no harm.
    """
    stretch = _stretch(field, source, target)
    agrees = _falling(-_agreement(source.maps, target.maps, field, groups), -np.asarray(_AGREES))
    doubt = (1 - _falling(stretch, np.log(_STRETCH))) * (1 - agrees)
    trusted = (1 - doubt) * _falling(stretch, np.log(_SMEARED))
    return opencv().GaussianBlur(trusted.astype(np.float32), (0, 0), _SOFT)


def _falling(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """1 up to the first end, 0 from the second on."""
    return np.clip((ends[1] - values) / (ends[1] - ends[0]), 0, 1)


def _stretch(field: np.ndarray, source: View, target: View) -> np.ndarray:
    """Logarithm of the larger over the smaller singular value of the field's Jacobian; huge in folds.

    A field that is mirrored as a whole does not fold.
    """
    if min(field.shape[:2]) < 2:
        return np.zeros(field.shape[:2])
    metric = np.asarray(source.step, np.float64)
    by_y, by_x = (slope * metric for slope in np.gradient(field, axis=(0, 1)))
    by_x, by_y = by_x / target.step[0], by_y / target.step[1]
    det = by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]
    det *= np.sign(np.median(det)) or 1.0
    half = ((by_x**2).sum(-1) + (by_y**2).sum(-1)) / 2  # of s1^2 + s2^2
    root = np.sqrt(np.maximum(half**2 - det**2, 0))
    larger, smaller = half + root, np.maximum(half - root, 1e-12)
    return np.where(det > 0, 0.5 * np.log(np.maximum(larger, 1e-12) / smaller), np.inf)


def _agreement(
    source: np.ndarray, target: np.ndarray, field: np.ndarray, groups: Sequence[Sequence[int]]
) -> np.ndarray:
    cv2 = opencv()
    at = np.ascontiguousarray(field, np.float32)
    shared, whole = np.zeros(target.shape[1:], np.float32), np.zeros(target.shape[1:], np.float32)
    for group in groups:
        there, here = source[list(group)].sum(axis=0), target[list(group)].sum(axis=0)
        read = cv2.remap(there, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shared += np.minimum(read, here)
        whole += here
    return shared / np.maximum(whole, _FOREGROUND)
