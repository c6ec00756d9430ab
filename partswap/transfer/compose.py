"""Lay the warped look over the target inside its matte; every other pixel is the target's own."""

from __future__ import annotations

import numpy as np

from partswap.imaging.frame import scaled
from partswap.imaging.opencv import opencv
from partswap.transfer.fill import clean
from partswap.transfer.layers import Layer, Subject
from partswap.transfer.silhouette import (
    OUTLINE_PLANES,
    Limits,
    limits,
    matte,
    part_matte,
    working_frame,
)
from partswap.transfer.view import interpolate

__all__ = ["compose", "silhouette"]

_BACKGROUND = 0.1  # matte below which a pixel is hardly the part
_HALO = 2.0  # working pixels around the part that still carry some of its old colour
_BEHIND = 0.012  # of the longer side: as far as surroundings are mirrored under the matte
_SAME = 3  # levels: a pixel that looks at itself and differs no more is kept as it is


def compose(
    target: Subject,
    layers: list[Layer],
    ids: tuple[int, ...],
    *,
    source: np.ndarray,
    border: float,
    strength: float,
    seed: int,
) -> np.ndarray:
    """Return the target with the layers laid over the chosen parts: uint8 (H, W, 3).

    Pixels further than `border` from the parts' hard mask are the target's, bit for bit.

    Args:
        ids: the target's chosen parts. source: uint8 (H', W', 3), the source's photo. border: in pixels.
        strength: 0 (nothing changes) .. 1.
    """
    out = target.rgb.copy()
    mask = np.isin(target.labels, ids)
    if strength <= 0 or not layers or not mask.any():
        return out
    bounds = limits(mask, border)
    columns = _span(np.any(bounds.upper, axis=0))
    frame = working_frame(target.photo)
    planes = _planes(target, layers, ids, bounds, seed)
    for top, strip in frame.undo(planes):
        rows = slice(top, top + strip.shape[1])
        if bounds.upper[rows].any():
            box = (rows, columns)
            _blend(out, target.rgb, source, layers, strip[:, :, columns], bounds, box, strength)
    return out


def _planes(
    target: Subject, layers: list[Layer], ids: tuple[int, ...], bounds: Limits, seed: int
) -> np.ndarray:
    """Everything that is worked out small, float32 (C, h, w): the outline, 3 colours of what lies behind the
    person, how much of the photo they hide, then per layer its weight and, if rendered, 3 colours."""
    edge, small = target.matte(ids)
    size = small.shape[:2]
    alpha = part_matte(edge, small)
    alpha = np.clip(alpha, scaled(bounds.lower, size) / 255, scaled(bounds.upper, size) / 255)
    person = _grown((matte(edge[:4], small) > _BACKGROUND) | (edge[4] > 0))
    behind = small
    if not person.all():
        behind = clean(small, person < 0.01, _BEHIND * max(size), np.random.default_rng(seed)).rgb
    # beside another part of the person lies that part, not the background
    unsure = _grown(alpha > _BACKGROUND) * (1 - edge[4])
    planes = [*edge, *behind.transpose(2, 0, 1), unsure]
    for layer in layers:
        planes.append(layer.weight)
        if layer.rendered is not None:
            planes += list(layer.rendered.transpose(2, 0, 1))
    return np.stack([plane.astype(np.float32) for plane in planes])


def _blend(
    out: np.ndarray,
    own: np.ndarray,
    source: np.ndarray,
    layers: list[Layer],
    strip: np.ndarray,
    bounds: Limits,
    box: tuple[slice, slice],
    strength: float,
) -> None:
    """Fill one strip of `out` in place."""
    mine = own[box].astype(np.float32)
    part = Limits(bounds.lower[box], bounds.upper[box])
    alpha = part.clamp(part_matte(strip, own[box]), slice(None))
    if not (alpha > 0).any():
        return
    rest = strip[OUTLINE_PLANES:]
    look, itself = _look(layers, rest[4:], box, source, own)
    behind = mine + rest[3][..., None] * (rest[:3].transpose(1, 2, 0) - mine)
    mixed = alpha[..., None] * look + (1 - alpha[..., None]) * behind
    changed = (mixed - mine) * (strength * ~itself[..., None])
    touched = part.upper > 0
    result = np.clip(np.rint(mine + changed), 0, 255).astype(np.uint8)
    out[box][touched] = result[touched]


def _look(
    layers: list[Layer],
    planes: np.ndarray,
    box: tuple[slice, slice],
    source: np.ndarray,
    own: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted look of all layers, float32 (R, S, 3), and bool (R, S): pixels that look at themselves."""
    rows, columns = (np.arange(s.start, s.stop) for s in box)
    total = np.full((len(rows), len(columns)), 1e-9, np.float32)
    look = np.zeros((len(rows), len(columns), 3), np.float32)
    itself = np.zeros(total.shape, bool)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).astype(np.float32)
    same = _alike(source, own, box)
    at = 0
    for layer in layers:
        weight = np.maximum(planes[at], 1e-9)
        at += 1
        if layer.patch is None or layer.field is None or layer.scale is None or layer.view is None:
            colour = planes[at : at + 3].transpose(1, 2, 0)
            at += 3
        else:
            # relative to where the pixel is: float32 then holds large photos' positions exactly enough
            where = interpolate(layer.field, layer.view, rows, columns)
            scale = interpolate(layer.scale, layer.view, rows, columns)[..., 0]
            colour = layer.patch.read(where, scale)
            if same is not None:
                itself |= same & (np.abs(where - grid).max(axis=-1) < 0.5) & (weight > 1e-6)
        look += weight[..., None] * colour
        total += weight
    return look / total[..., None], itself


def _alike(source: np.ndarray, own: np.ndarray, box: tuple[slice, slice]) -> np.ndarray | None:
    """Where source and target are the same pixel: bool (R, S); None for photos of different sizes."""
    if source.shape != own.shape:
        return None
    difference = np.abs(source[box].astype(np.int16) - own[box])
    return difference.max(axis=-1) <= _SAME


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and a little more, with a soft rim, float32 0..1: the old look's halo lies just outside it."""
    cv2 = opencv()
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.clip(_HALO + 1 - away, 0, 1)


def _span(flags: np.ndarray) -> slice:
    found = np.flatnonzero(flags)
    return slice(int(found[0]), int(found[-1]) + 1)


def silhouette(target: Subject, ids: tuple[int, ...], border: float) -> np.ndarray:
    """The matte that `compose` uses for these parts: float32 (H, W), 0..1."""
    mask = np.isin(target.labels, ids)
    out = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return out
    bounds = limits(mask, border)
    planes, _ = target.matte(ids)
    for top, strip in working_frame(target.photo).undo(planes):
        rows = slice(top, top + strip.shape[1])
        out[rows] = bounds.clamp(part_matte(strip, target.rgb[rows]), rows)
    return out
