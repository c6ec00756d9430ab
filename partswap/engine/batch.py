"""What every engine takes."""

from __future__ import annotations

import numpy as np

__all__ = ["RENDER_MULTIPLE", "check_batch", "check_render"]

RENDER_MULTIPLE = 4
"""Both sides of what the renderer sees and paints are multiples of this many pixels."""


def check_batch(batch: np.ndarray, multiple: int) -> None:
    """Raises ValueError unless ``batch`` is uint8 (B, h, w, 3) with both sides multiples of ``multiple``."""
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
        raise ValueError(f"a batch is uint8 (B, h, w, 3), not {batch.dtype} {batch.shape}")
    if batch.shape[1] % multiple or batch.shape[2] % multiple:
        raise ValueError(f"both sides of {batch.shape} must be multiples of {multiple}")


def check_render(
    photo: np.ndarray, source_map: np.ndarray, target_map: np.ndarray, look: np.ndarray, parts: int
) -> None:
    """Raises ValueError unless these fit each other; see `partswap.engine.base.Engine.render`."""
    check_batch(photo, RENDER_MULTIPLE)
    batch, height, width, _ = photo.shape
    for name, found in (("source_map", source_map), ("target_map", target_map)):
        if found.dtype != np.float32 or found.ndim != 4 or found.shape[:2] != (batch, parts + 1):
            raise ValueError(
                f"{name} is float32 ({batch}, {parts + 1}, h, w), not {found.dtype} {found.shape}"
            )
        if found.shape[2] % RENDER_MULTIPLE or found.shape[3] % RENDER_MULTIPLE:
            raise ValueError(f"both sides of {name} {found.shape} must be multiples of {RENDER_MULTIPLE}")
    if source_map.shape[2:] != (height, width):
        raise ValueError(f"source_map {source_map.shape} must lie over the photo {photo.shape}")
    if look.dtype != np.int64 or look.shape != (batch, parts):
        raise ValueError(f"look is int64 ({batch}, {parts}), not {look.dtype} {look.shape}")
    if look.size and not (look.min() >= 0 and look.max() < parts):
        raise ValueError(f"look holds parts that are not 0 to {parts - 1}")
