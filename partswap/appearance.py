"""Within a photo a part has one appearance: its borders are moved to where that changes.

The net finds parts by where they are. A vest ends where the skin begins, but a border that lies a little
inside it is as good to the net; and a part that the net spreads over both is to be one or the other. As in
the paper (Braun, Esser, Ommer 2020), where a part is reconstructed from a single code, a pixel belongs the
less to a part the less it looks like it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["drawn_to_appearance", "likelihoods", "typical_and_own"]

SPREAD = 10.0
"""Of a part's colours, in units of Lab: a likelihood that falls as a Gaussian does."""
OTHERWISE = 0.45
"""Least likelihood: hair and face are one head. Of two parts one gains by at most the inverse of this."""
LIGHTNESS = 0.7
"""How much lightness counts: folds and shadows change it, and little else."""
ROUNDS = 3
SHIFTS = 4
BLOCK = 4096
"""So many pixels at a time stay in a core's cache: photos of a folder are worked on side by side."""
SEEN = 1e-3
"""Where less than this is foreground, nothing is to be gained."""
WORKED_AT = 80
"""Longer side, in pixels, at which the parts' colours are found."""


def drawn_to_appearance(part_map: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A part map whose parts keep to their own colour; its background stays as it is.

    Args:
        part_map: float32 (K+1, h, w), probabilities, channel 0 background; pixels: uint8 (H, W, 3), the same
            picture.

    Returns:
        float32 (K+1, h, w), probabilities.
    """
    foreground = 1 - part_map[0].reshape(-1)
    drawn = part_map.copy()
    flat = drawn.reshape(len(part_map), -1)[1:]
    typical, colours = typical_and_own(part_map, pixels, np.arange(len(flat)), OTHERWISE)
    for start in range(0, len(foreground), BLOCK):
        some = slice(start, start + BLOCK)
        if foreground[some].max() > SEEN:
            odds = flat[:, some]
            odds *= likelihoods(typical, colours[some], OTHERWISE)
            odds *= foreground[some] / np.maximum(odds.sum(axis=0), 1e-6)
    return drawn


def typical_and_own(
    part_map: np.ndarray, pixels: np.ndarray, alike: Sequence[int] | np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """The colours of the parts and of the pixels of a photo.

    Args:
        part_map, pixels: of :func:`drawn_to_appearance`; alike: K numbers from 0, equal for parts that share
            one colour; least: likelihood of any other colour.

    Returns:
        the commonest colours, float32 (groups, 3), and those of all pixels, float32 (h * w, 3), in Lab with
        less of its lightness.
    """
    cv2 = opencv()
    h, w = part_map.shape[1:]
    colours = _colours(cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA))
    scale = min(1.0, WORKED_AT / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))

    def small(plane: np.ndarray) -> np.ndarray:
        return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)

    of_part = np.asarray(alike)
    shares = np.zeros((of_part.max() + 1, size[0] * size[1]), np.float32)
    for group, plane in zip(of_part, part_map[1:], strict=True):
        shares[group] += small(plane).reshape(-1)
    foreground = small(1 - part_map[0]).reshape(-1)
    seen = foreground > SEEN
    shares, foreground = shares[:, seen], foreground[seen]
    typical = _typical_colours(
        shares / np.maximum(shares.sum(axis=0), 1e-6), foreground, small(colours).reshape(-1, 3)[seen], least
    )
    return typical, colours.reshape(-1, 3)


def likelihoods(typical: np.ndarray, colours: np.ndarray, least: float) -> np.ndarray:
    """How well colours float32 (n, 3) go with typical ones, (k, 3): float32 (k, n), between ``least`` and
    1."""
    return _likelihood(_squared_distances(typical, colours), least)


def _colours(rgb: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) -> float32 (h, w, 3), Lab with less of its lightness."""
    cv2 = opencv()
    lab: np.ndarray = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    # OpenCV stores 8-bit Lab as L * 255 / 100, a + 128 and b + 128.
    return (lab - np.array([0, 128, 128], np.float32)) * np.array([LIGHTNESS / 2.55, 1, 1], np.float32)


def _likelihood(squared: np.ndarray, least: float) -> np.ndarray:
    """Of a colour whose squared distance from a part's own is given."""
    return (1 - least) * np.exp(squared / np.float32(-2 * SPREAD**2)) + np.float32(least)


def _typical_colours(
    given: np.ndarray, foreground: np.ndarray, colours: np.ndarray, least: float
) -> np.ndarray:
    """The commonest colour of every part, and what belongs to it, in turns.

    Args:
        given: float32 (K, n), which part a pixel is; foreground: float32 (n,); colours: float32 (n, 3).

    Returns:
        float32 (K, 3), modes found by mean shift (Comaniciu and Meer, PAMI 2002) from the mean.
    """
    now = given
    channels = np.ascontiguousarray(colours.T)

    # Not by a matrix product: BLAS would start threads of its own for these few numbers, which wait for each
    # other where photos are worked on side by side (a third of the speed of a folder).
    def summed(weight: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.einsum("kn,cn->kc", weight, channels)
        return total

    typical = np.zeros((len(given), 3), np.float32)
    for _ in range(ROUNDS):
        weight = np.square(now) * foreground
        typical = summed(weight) / (weight.sum(axis=1, keepdims=True) + 1e-4)
        for _ in range(SHIFTS):
            near = weight * np.exp(
                _squared_distances(typical, colours) / np.float32(-2 * (1.5 * SPREAD) ** 2)
            )
            typical = (summed(near) + 1e-3 * typical) / (near.sum(axis=1, keepdims=True) + 1e-3)
        now = given * likelihoods(typical, colours, least)
        now = now / np.maximum(now.sum(axis=0), 1e-6)
    return typical


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(k, 3), (n, 3) -> (k, n)."""
    squared = np.square(first[:, :1] - second[:, 0])
    squared += np.square(first[:, 1:2] - second[:, 1])
    squared += np.square(first[:, 2:] - second[:, 2])
    return squared
