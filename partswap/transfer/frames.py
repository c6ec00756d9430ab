"""One affine frame per part, from soft moments, and their blend into a first guess of the whole map.

The map between two Gaussians that moves the least (optimal transport) is affine with a closed form
(Olkin and Pukelsheim 1982; Peyré and Cuturi 2019, remark 2.31): x -> m_s + A (x - m_t) with
A = C_t^-1/2 (C_t^1/2 C_s C_t^1/2)^1/2 C_t^-1/2. A long part is turned first, so that a raised arm looks along
the hanging one instead of being squashed into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv
from partswap.transfer.sides import positions

__all__ = ["Frame2D", "Moments", "blend_frames", "match", "moments"]

_FLOOR = 0.6  # px^2: variance of a part that is one pixel thin
_LONG = 2.2  # ratio of standard deviations from which a part has a direction
_TURN = np.deg2rad(100)  # beyond it the near and the far end are too easily taken for one another
_STRETCH = 2.5  # largest scale of a frame relative to the body's


@dataclass(frozen=True)
class Moments:
    """Mass (pixels), centre (2,) and covariance (2, 2) of a soft part."""

    mass: float
    centre: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Frame2D:
    """An affine map of positions: target -> source, both on their maps."""

    matrix: np.ndarray
    target: np.ndarray
    source: np.ndarray

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        return (xy - self.target) @ self.matrix.T + self.source


def moments(channel: np.ndarray) -> Moments:
    """Soft moments of float (h, w); a small probability far away (haze of the softmax) does not count."""
    weight = np.clip(channel.ravel().astype(np.float64) - 0.15, 0, None)
    mass = float(weight.sum())
    grid = positions(channel.shape)
    if mass < 1e-6:
        return Moments(0.0, grid.mean(axis=0), np.eye(2))
    centre = weight @ grid / mass
    off = grid - centre
    return Moments(mass / 0.85, centre, (weight[:, None] * off).T @ off / mass + _FLOOR * np.eye(2))


def match(target: Moments, source: Moments, towards: tuple[np.ndarray, np.ndarray] | None) -> Frame2D:
    """The frame that carries one part onto the same part of the other photo.

    Args:
        towards: the bodies' centres (target, source): the end of a long part that is nearer to them is its
            beginning. None never turns.
    """
    turn = np.eye(2)
    if towards is not None:
        turn = _turn(target, source, towards)
    turned = turn @ target.covariance @ turn.T
    return Frame2D(_bounded(_transport(turned, source.covariance) @ turn), target.centre, source.centre)


def _transport(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    root = _root(target)
    inverse = np.linalg.inv(root)
    return inverse @ _root(root @ source @ root) @ inverse


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 1e-9))) @ vectors.T


def _turn(target: Moments, source: Moments, towards: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    directions = []
    for part, body in zip((target, source), towards, strict=True):
        values, vectors = np.linalg.eigh(part.covariance)
        if np.sqrt(values[1] / values[0]) < _LONG:
            return np.eye(2)
        outwards = part.centre - body
        directions.append(vectors[:, 1] * (1 if vectors[:, 1] @ outwards >= 0 else -1))
    (x0, y0), (x1, y1) = directions
    angle = np.arctan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)
    if abs(angle) > _TURN:
        return np.eye(2)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _bounded(matrix: np.ndarray) -> np.ndarray:
    """Keep singular values sane: a sliver that stands for a whole part would smear it."""
    u, s, vt = np.linalg.svd(matrix)
    return (u * np.clip(s, 1 / _STRETCH, _STRETCH)) @ vt


def blend_frames(
    frames: list[Frame2D], channels: list[np.ndarray], body: Frame2D, size: tuple[int, int], blur: float
) -> np.ndarray:
    """Blend frames by the blurred target maps: float64 (h, w, 2), source position of each target pixel.

    Args:
        frames, channels: one target map (h, w) per frame. body: the frame where no part is near.
        blur: in map pixels.
    """
    cv2 = opencv()
    grid = positions(size)
    total = np.full(size, 0.02)
    out = body(grid).reshape(*size, 2) * total[..., None]
    for frame, channel in zip(frames, channels, strict=True):
        weight = cv2.GaussianBlur(channel.astype(np.float64), (0, 0), blur)
        out += weight[..., None] * frame(grid).reshape(*size, 2)
        total += weight
    return out / total[..., None]
