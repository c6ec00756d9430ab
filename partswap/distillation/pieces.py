"""Part maps to learn from, in which what comes in one piece stays in one piece, and what is compact compact.

Nearly everybody's head is one connected thing, and hardly reaches beyond its own size, but for hair, which
hangs. A raised fist that is taken for a second head is none, nor is a forearm above the head a part of it:
they get what the net thinks of them next.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from partswap.distillation.targets import confidence
from partswap.training.data import PhotoSet

WHOLE = 0.9
"""Share of a kind of part's area in its largest piece from which it counts as one piece."""
ALWAYS = 0.95
"""Share of the photos that the net is surest of in which a kind of part must be one piece."""
COMPACT = 1.8
"""So many radii of the largest circle within it a compact part reaches from that circle's middle, at most,
away from the rest of the body."""
OPEN = 1.3
"""Where one reaches further, it is left open from so many radii on: it may be what lies beyond."""
MOSTLY = 0.9
"""Share of these photos in which it must be no longer than that."""
BEYOND = 0.03
"""Of a compact part, more than this share reaches too far: less is a hat's, or its border's."""
LEAST = 0.005
"""Of the foreground: with less than this a kind of part is not there, and says nothing of its pieces."""


def in_one_piece(targets: Tensor, photos: PhotoSet, groups: Sequence[int]) -> Tensor:
    """Take away the second pieces of what comes in one piece, and what of a compact part reaches too far, in
    place.

    Args:
        targets: uint8 (N, K, h, w), posteriors; zero where they are left open; groups: K numbers from 0,
            equal for parts of one kind, whose pieces may touch.

    Returns:
        bool (N,), which photos were changed.
    """
    assert photos.masks is not None
    kinds = np.asarray(groups)
    maps, sure = [], []
    for target, mask in zip(targets, photos.masks, strict=True):
        on = F.interpolate(mask[None].float() / 255, size=target.shape[-2:], mode="area")
        known = (on[0, 0] > 0.5) & (target.sum(0) > 0)
        maps.append(np.where(known.cpu().numpy(), kinds[target.argmax(0).cpu().numpy()], -1).astype(np.int16))
        sure.append(float(confidence(target[None].float() / 255, on)))
    surest = [found for found, how in zip(maps, sure, strict=True) if how >= np.median(sure)]
    changed = np.zeros(len(maps), bool)
    for kind in (kind for kind in range(kinds.max() + 1) if _comes_whole(surest, kind)):
        own = torch.from_numpy(kinds == kind).to(targets.device)
        compact = _is_compact(surest, kind)
        for i, found in enumerate(maps):
            changed[i] |= _mended(targets[i], found, kind, own, compact)
    return torch.from_numpy(changed).to(targets.device)


def _mended(target: Tensor, found: np.ndarray, kind: int, own: Tensor, compact: bool) -> bool:
    """Mend one kind of part in a target uint8 (K, h, w), in place; whether it was changed.

    Args:
        found: int (h, w), kinds, -1 where none is known; what is no longer of this kind becomes -1. own: bool
            (K,), the kind's parts.
    """
    others = _second_pieces(found == kind)
    if others is not None:
        _take_away(target, own, torch.from_numpy(others).to(target.device))
        found[others] = -1
    reach = _reach(found, kind) if compact else None
    far = reach is not None and (reach > COMPACT).sum() > BEYOND * (found == kind).sum()
    if reach is not None and far:
        _take_away(target, own, torch.from_numpy(reach > COMPACT).to(target.device))
        target[:, torch.from_numpy((reach > OPEN) & (reach <= COMPACT)).to(target.device)] = 0
    return others is not None or bool(far)


def _comes_whole(maps: Sequence[np.ndarray], kind: int) -> bool:
    """Whether nearly all photos that show a kind of part show it in one piece."""
    there = [found for found in maps if (found == kind).sum() > LEAST * max(1, (found >= 0).sum())]
    whole = [_sizes(found == kind)[1:].max() >= WHOLE * (found == kind).sum() for found in there]
    return bool(there) and float(np.mean(whole)) >= ALWAYS


def _is_compact(maps: Sequence[np.ndarray], kind: int) -> bool:
    """Whether most photos that show a kind of part show it compact."""
    reaches = [_reach(found, kind) for found in maps]
    far = [float(reach.max()) for reach in reaches if reach is not None]
    return bool(far) and float(np.quantile(far, MOSTLY)) <= COMPACT


def _reach(found: np.ndarray, kind: int) -> np.ndarray | None:
    """How far a kind of part reaches away from the rest of the body, in radii of the largest circle within
    it, from that circle's middle: float (h, w), 0 where it is not or reaches elsewhere; None where there is
    too little of it.

    Args:
        found: int (h, w), kinds, -1 where none is known.
    """
    own, rest = found == kind, (found >= 0) & (found != kind)
    if not rest.any() or own.sum() <= LEAST * (found >= 0).sum():
        return None
    depth = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1]
    radius = depth.max()
    middle = np.argwhere(depth >= 0.9 * radius).mean(axis=0)
    away = middle - np.argwhere(rest).mean(axis=0)
    y, x = (grid - at for grid, at in zip(np.indices(found.shape), middle, strict=True))
    reach: np.ndarray = np.hypot(y, x) / radius * (own & (y * away[0] + x * away[1] > 0))
    return reach


def _sizes(on: np.ndarray) -> np.ndarray:
    """Areas of the pieces, the first of what is none."""
    areas: np.ndarray = np.bincount(ndimage.label(on)[0].ravel())
    return areas


def _second_pieces(on: np.ndarray) -> np.ndarray | None:
    """All but the largest piece, bool (h, w), or None."""
    pieces, number = ndimage.label(on)
    if number < 2:
        return None
    largest = 1 + np.bincount(pieces.ravel())[1:].argmax()
    return (pieces > 0) & (pieces != largest)


def _take_away(target: Tensor, own: Tensor, where: Tensor) -> None:
    """Of a target uint8 (K, h, w), the parts ``own``, bool (K,), where ``where``, bool (h, w), says; what is
    left makes up for it, or stays open where nothing is."""
    there = target[:, where].float() * (~own).float()[:, None]
    total = there.sum(0)
    target[:, where] = (there * (255 / total.clamp(min=1.0))).round().to(torch.uint8)
