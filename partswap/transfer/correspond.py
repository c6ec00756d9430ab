"""Where in the source does each target pixel of a chosen part look?

Affine frames per part (sides of paired parts apart) are blended into a first guess, which a free-form
deformation then registers. A side that the source does not show looks at the mirrored other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partswap.transfer.frames import Frame2D, Moments, blend_frames, match, moments
from partswap.transfer.register import Settings, register
from partswap.transfer.sides import Axis, body_axis, is_paired, positions, split
from partswap.transfer.view import View

__all__ = ["Correspondence", "MirrorField", "correspond"]

_MISSING = 0.0015  # of the body's mass: a part below it is not shown
_TINY = 0.006  # below it, its own covariance says little: the body's frame is used around its centre
_BLUR = 3.0


@dataclass(frozen=True)
class MirrorField:
    """A side of a part that only has a mirrored counterpart: field (h, w, 2), and its target map (h, w)."""

    part: int
    field: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Correspondence:
    """field: float64 (h, w, 2), source map position (x, y) for each pixel of the target's map. mirrored:
    sides that look elsewhere."""

    field: np.ndarray
    mirrored: list[MirrorField]


@dataclass(frozen=True)
class _Channel:
    part: int
    source: np.ndarray
    target: np.ndarray
    source_moments: Moments
    target_moments: Moments


def correspond(
    source: View, target: View, pairs: list[tuple[int, int]], settings: Settings | None = None
) -> Correspondence:
    """Register the target's map with the source's.

    Args:
        source, target: crops of the part maps of one person each; channel 0 is background.
        pairs: (source channel, target channel) that belong together.
    """
    axes = body_axis(source.maps), body_axis(target.maps)
    channels = [c for pair in pairs for c in _channels(source, target, pair, axes)]
    body = _body_frame(source, target, pairs)
    least = _MISSING * max(1.0, float(target.maps[1:].sum()))
    least_source = _MISSING * max(1.0, float(source.maps[1:].sum()))
    shown = [c for c in channels if c.source_moments.mass >= least_source and c.target_moments.mass >= least]
    lost = [c for c in channels if c.source_moments.mass < least_source and c.target_moments.mass >= least]
    centres = body.target, body.source
    frames = [_frame(c, body, target, centres) for c in shown]
    start = blend_frames(frames, [c.target for c in shown], body, target.size, _BLUR)
    mine, other = _stacks(source, target, shown)
    field = register(start, mine, other, settings or Settings())
    mirrored = [m for c in lost for m in _mirror(c, channels, axes, least_source)]
    return Correspondence(field, mirrored)


def _channels(source: View, target: View, pair: tuple[int, int], axes: tuple[Axis, Axis]) -> list[_Channel]:
    mine, other = source.maps[pair[0]], target.maps[pair[1]]
    halves = [(mine, other)]
    if is_paired(mine, axes[0]) or is_paired(other, axes[1]):
        halves = list(zip(split(mine, axes[0]), split(other, axes[1]), strict=True))
    return [_Channel(pair[1], s, t, moments(s), moments(t)) for s, t in halves]


def _body_frame(source: View, target: View, pairs: list[tuple[int, int]]) -> Frame2D:
    mine = source.maps[sorted({p[0] for p in pairs})].sum(axis=0)
    other = target.maps[sorted({p[1] for p in pairs})].sum(axis=0)
    return match(moments(other), moments(mine), None)


def _frame(c: _Channel, body: Frame2D, target: View, centres: tuple[np.ndarray, np.ndarray]) -> Frame2D:
    if c.target_moments.mass < _TINY * float(target.maps[1:].sum()):
        return Frame2D(body.matrix, c.target_moments.centre, c.source_moments.centre)
    return match(c.target_moments, c.source_moments, centres)


def _stacks(source: View, target: View, shown: list[_Channel]) -> tuple[np.ndarray, np.ndarray]:
    """The channels that the registration compares: what is no person's, the parts that both show, the
    rest."""
    mine = [source.maps[0], *(c.source for c in shown)]
    other = [target.maps[0], *(c.target for c in shown)]
    mine.append(np.clip(1 - sum(mine), 0, 1))
    other.append(np.clip(1 - sum(other), 0, 1))
    return np.stack(mine), np.stack(other)


def _mirror(
    lost: _Channel, channels: list[_Channel], axes: tuple[Axis, Axis], least: float
) -> list[MirrorField]:
    """Look at the other side through a mirror along the body's axis."""
    for c in channels:
        if c.part == lost.part and c is not lost and c.source_moments.mass >= least:
            flip = axes[0].mirror()
            m = c.source_moments
            seen = Moments(m.mass, m.centre, flip @ m.covariance @ flip.T)
            frame = match(lost.target_moments, seen, None)
            frame = Frame2D(flip @ frame.matrix, frame.target, frame.source)
            field = frame(positions(lost.target.shape)).reshape(*lost.target.shape, 2)
            return [MirrorField(lost.part, field, lost.target)]
    return []
