"""The last resort for a part that the source hardly shows: the checkpoint's renderer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partswap.engine.batch import RENDER_MULTIPLE
from partswap.imaging.frame import scaled

if TYPE_CHECKING:
    from partswap.engine import Engine
    from partswap.transfer.layers import Subject

__all__ = ["render"]


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
