"""What every engine takes."""

from __future__ import annotations

import numpy as np

__all__ = ["check_batch"]


def check_batch(batch: np.ndarray, multiple: int) -> None:
    """Raises ValueError unless ``batch`` is uint8 (B, h, w, 3) with both sides multiples of ``multiple``."""
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
        raise ValueError(f"a batch is uint8 (B, h, w, 3), not {batch.dtype} {batch.shape}")
    if batch.shape[1] % multiple or batch.shape[2] % multiple:
        raise ValueError(f"both sides of {batch.shape} must be multiples of {multiple}")
