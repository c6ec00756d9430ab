"""The last resort for a part that the source hardly shows: the checkpoint's renderer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partswap.engine.batch import RENDER_MULTIPLE
from partswap.imaging.frame import scaled

if TYPE_CHECKING:
    from partswap.engine import Engine
    from partswap.transfer.layers import Subject

__all__ = ["in_own_colour", "render"]


def render(engine: Engine, source: Subject, target: Subject, to: dict[int, int]) -> np.ndarray | None:
    """Paint the target's shape with the source's appearance codes: uint8 (h, w, 3) over the whole photo.

    Args:
        engine: of the model that segmented both. to: target id -> source id, where they differ.

    Returns:
        None if the model has no renderer.
    """
    look = np.arange(len(target.part_map) - 1, dtype=np.int64)
    for target_id, source_id in to.items():
        look[target_id - 1] = source_id - 1
    side = engine.render_side
    photo = scaled(source.rgb, _size(source, side))
    picture = engine.render(photo[None], _maps(source, side), _maps(target, side), look[None])
    return None if picture is None else np.rint(picture[0] * 255).astype(np.uint8)


def in_own_colour(
    picture: np.ndarray, ids: tuple[tuple[int, ...], tuple[int, ...]], subjects: tuple[Subject, Subject]
) -> np.ndarray:
    """A rendered picture, moved so that the mean of a part is that of the source's: the renderer is off by
    some, and beside the source's own pixels that shows.

    Args:
        picture: float32 (h, w, 3), 0..255, of the whole target. ids: of the part in source and target.
            subjects: source, target.

    Returns:
        float32 (h, w, 3), 0..255.
    """
    source, target = subjects
    there = np.isin(source.labels, ids[0])
    here = scaled(np.isin(target.labels, ids[1]).astype(np.float32), picture.shape[:2]) > 0.5
    if not (there.any() and here.any()):
        return picture
    by = source.rgb[there].mean(axis=0) - picture[here].mean(axis=0)
    return np.clip(picture + by, 0, 255).astype(np.float32)


def _size(subject: Subject, side: int) -> tuple[int, int]:
    """The photo's (height, width) at a longer side of about `side`, multiples of `RENDER_MULTIPLE`."""
    unit = RENDER_MULTIPLE
    height, width = (max(unit, round(s * side / max(subject.photo) / unit) * unit) for s in subject.photo)
    return height, width


def _maps(subject: Subject, side: int) -> np.ndarray:
    """The part map at that size: float32 (1, K+1, h, w)."""
    height, width = subject.content
    planes = [scaled(one[:height, :width], _size(subject, side)) for one in subject.part_map]
    return np.stack(planes)[None].astype(np.float32, copy=False)
