"""A free-form deformation that registers two part maps (Rueckert et al. 1999), in NumPy.

Displacements live on a coarse grid and are interpolated by cubic B-splines. The data term is the squared
difference of the soft maps, coarse to fine; bending energy keeps prints straight and a penalty on folding
keeps them whole. The gradient is written out (the splines are two small matrices, so its pull-back is two
products), and its steps take a millisecond each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv
from partswap.transfer.view import spline_matrix

__all__ = ["Settings", "register"]


@dataclass(frozen=True)
class Settings:
    """What was measured to work, in map pixels.

    spacing: between nodes. blurs: of the maps, coarse to fine. steps: per blur. rate: first step of Adam.
    bending, folding: weights of the penalties; fold: the smallest determinant that is free.
    """

    spacing: float = 6.0
    blurs: tuple[float, ...] = (4.0, 2.0, 1.0)
    steps: int = 40
    rate: float = 0.8
    bending: float = 0.001
    folding: float = 0.3
    fold: float = 0.15


def register(start: np.ndarray, source: np.ndarray, target: np.ndarray, settings: Settings) -> np.ndarray:
    """Improve a map from target to source pixels.

    Args:
        start: float (h, w, 2), source position (x, y) of each target pixel.
        source: float (C, h', w'); target: float (C, h, w): the channels to bring together.

    Returns:
        float64 (h, w, 2).
    """
    size = target.shape[1:]
    down, across = (_grid_matrix(n, settings.spacing) for n in size)
    nodes = np.zeros((down.shape[1], across.shape[1], 2))
    adam = _Adam(settings.rate)
    for level, blur in enumerate(settings.blurs):
        data = _Data(_blurred(source, blur), _blurred(target, blur))
        for _ in range(settings.steps):
            dense = start + _spread(nodes, down, across)
            pull = data.gradient(dense) + settings.folding * _fold_gradient(dense, settings.fold)
            gradient = _gather(pull, down, across) / (settings.spacing**2)
            gradient += settings.bending * _bending_gradient(nodes)
            nodes -= adam.step(gradient, 0.6**level)
    return start + _spread(nodes, down, across)


class _Adam:
    """Adam with a large epsilon: where there is nothing to gain, rounding noise must not become a step."""

    def __init__(self, rate: float) -> None:
        self.rate, self.count = rate, 0
        self.mean: np.ndarray | float = 0.0
        self.square: np.ndarray | float = 0.0

    def step(self, gradient: np.ndarray, factor: float) -> np.ndarray:
        self.count += 1
        self.mean = 0.8 * self.mean + 0.2 * gradient
        self.square = 0.95 * self.square + 0.05 * gradient**2
        first = self.mean / (1 - 0.8**self.count)
        second = self.square / (1 - 0.95**self.count)
        return self.rate * factor * first / (np.sqrt(second) + 2e-4)


class _Data:
    """Half the squared difference of warped source and target, summed over channels."""

    def __init__(self, source: np.ndarray, target: np.ndarray) -> None:
        self.size = source.shape[1:]
        slope_y, slope_x = np.gradient(source, axis=(1, 2))
        self.count = len(source)
        # one row per pixel, so that a bilinear read fetches values and slopes of all channels at once
        stacked = np.concatenate([source, slope_x, slope_y]).reshape(3 * self.count, -1)
        self.table = np.ascontiguousarray(stacked.T, np.float32)
        near = (target[0] < 0.98).ravel()
        self.where = np.flatnonzero(near)
        self.target = np.ascontiguousarray(target.reshape(self.count, -1).T[self.where], np.float32)

    def gradient(self, dense: np.ndarray) -> np.ndarray:
        """Of the data term by the displacement, float64 (h, w, 2)."""
        read = _bilinear(self.table, self.size, dense.reshape(-1, 2)[self.where])
        n = self.count
        error = read[:, :n] - self.target
        out = np.zeros((dense.shape[0] * dense.shape[1], 2))
        out[self.where, 0] = np.einsum("nc,nc->n", error, read[:, n : 2 * n])
        out[self.where, 1] = np.einsum("nc,nc->n", error, read[:, 2 * n :])
        return out.reshape(dense.shape)


def _bilinear(table: np.ndarray, size: tuple[int, ...], at: np.ndarray) -> np.ndarray:
    """Rows of a (h * w, C) table at positions (N, 2); outside, the edge goes on."""
    height, width = size
    x, y = np.clip(at[:, 0], 0, width - 1), np.clip(at[:, 1], 0, height - 1)
    x0 = np.minimum(x.astype(np.intp), max(0, width - 2))
    y0 = np.minimum(y.astype(np.intp), max(0, height - 2))
    fx, fy = (x - x0).astype(np.float32)[:, None], (y - y0).astype(np.float32)[:, None]
    right, below = min(1, width - 1), min(1, height - 1) * width
    corner = y0 * width + x0
    upper = table[corner] * (1 - fx) + table[corner + right] * fx
    lower = table[corner + below] * (1 - fx) + table[corner + below + right] * fx
    return upper * (1 - fy) + lower * fy


def _blurred(maps: np.ndarray, blur: float) -> np.ndarray:
    cv2 = opencv()
    return np.stack(
        [
            cv2.GaussianBlur(
                np.ascontiguousarray(one, np.float32), (0, 0), blur, borderType=cv2.BORDER_REPLICATE
            )
            for one in maps
        ]
    )


def _grid_matrix(count: int, spacing: float) -> np.ndarray:
    """Spline weights float64 (count, nodes) of a grid that reaches over both ends."""
    nodes = max(4, round(count / spacing) + 3)
    inner = (np.arange(count) + 0.5) / count * (nodes - 3) + 1
    return spline_matrix(inner, nodes).astype(np.float64)


def _spread(nodes: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    return np.stack([down @ nodes[..., c] @ across.T for c in (0, 1)], axis=-1)


def _gather(pull: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    return np.stack([down.T @ pull[..., c] @ across for c in (0, 1)], axis=-1)


def _bending_gradient(nodes: np.ndarray) -> np.ndarray:
    """Of half the sum of squared second differences along both ways and the mixed one (twice)."""
    out = np.zeros_like(nodes)
    along = nodes[2:] - 2 * nodes[1:-1] + nodes[:-2]
    out[2:] += along
    out[1:-1] -= 2 * along
    out[:-2] += along
    along = nodes[:, 2:] - 2 * nodes[:, 1:-1] + nodes[:, :-2]
    out[:, 2:] += along
    out[:, 1:-1] -= 2 * along
    out[:, :-2] += along
    mixed = 2 * (nodes[1:, 1:] - nodes[1:, :-1] - nodes[:-1, 1:] + nodes[:-1, :-1])
    out[1:, 1:] += mixed
    out[1:, :-1] -= mixed
    out[:-1, 1:] -= mixed
    out[:-1, :-1] += mixed
    return out


def _fold_gradient(dense: np.ndarray, fold: float) -> np.ndarray:
    """Of half relu(fold - det J)^2, J by forward differences."""
    by_x = dense[:-1, 1:] - dense[:-1, :-1]
    by_y = dense[1:, :-1] - dense[:-1, :-1]
    det = by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]
    push = -np.maximum(0, fold - det)
    out = np.zeros_like(dense)
    if not push.any():
        return out
    to_x = push[..., None] * np.stack([by_y[..., 1], -by_y[..., 0]], axis=-1)
    to_y = push[..., None] * np.stack([-by_x[..., 1], by_x[..., 0]], axis=-1)
    out[:-1, 1:] += to_x
    out[1:, :-1] += to_y
    out[:-1, :-1] -= to_x + to_y
    return out
