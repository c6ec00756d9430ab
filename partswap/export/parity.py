"""Does ONNX Runtime compute what torch computes? Several sizes and batches, measured, not assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from partswap.engine.torch_engine import TorchEngine

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

__all__ = ["BATCHES", "LIMITS", "Row", "compare", "within", "worst"]

BATCHES = (1, 2, 5)
LIMITS = {"fp32": (1e-4, 0.999), "fp16": (5e-3, 0.995)}
"""Precision -> the largest difference of probabilities, and the least share of pixels whose part is the
same."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    batch: B. height, width: pixels. difference: the largest absolute difference of any probability.
    agreement: the share of pixels with the same most probable part.
    """

    batch: int
    height: int
    width: int
    difference: float
    agreement: float


def compare(checkpoint: Checkpoint, model: bytes, preprocessing: bool) -> list[Row]:
    """Run the serialized graph in ONNX Runtime and the checkpoint in torch, both on the CPU in float32 or as
    the graph says, on the same drawn pictures: 3 sizes, each at every batch of `BATCHES`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    torch_engine = TorchEngine(checkpoint, "cpu")
    rows = []
    for height, width in _sizes(checkpoint):
        # Drawn once and compared as they stand, so that a batch also shows that pictures do not mix
        pictures = _pictures(max(BATCHES), height, width)
        for batch in BATCHES:
            image = pictures[-batch:]
            fed = image if preprocessing else _normalised(checkpoint, image)
            found = session.run(["parts"], {"image": fed})[0]
            rows.append(_row(found, torch_engine.run(np.ascontiguousarray(image))))
    return rows


def within(rows: Sequence[Row], precision: str) -> bool:
    """Whether every row keeps to `LIMITS[precision]`; NaN does not."""
    most, least = LIMITS[precision]
    return all(row.difference <= most and row.agreement >= least for row in rows)


def worst(rows: Sequence[Row]) -> tuple[float, float]:
    """The largest difference and the least agreement of all rows."""
    return max(row.difference for row in rows), min(row.agreement for row in rows)


def _row(found: np.ndarray, expected: np.ndarray) -> Row:
    difference = float(np.abs(found - expected).max())
    agreement = float((found.argmax(1) == expected.argmax(1)).mean())
    return Row(len(found), found.shape[2], found.shape[3], difference, agreement)


def _sizes(checkpoint: Checkpoint) -> list[tuple[int, int]]:
    """Upright and lying as photos come, and one that is small and of another shape."""
    multiple = checkpoint.config.multiple
    long = -(-checkpoint.config.input_long_side // multiple) * multiple
    short = max(multiple, round(long * 0.6 / multiple) * multiple)
    return [(long, short), (short, long), (multiple, 2 * multiple)]


def _pictures(count: int, height: int, width: int) -> np.ndarray:
    """Patches, gradients and some noise: uint8 (count, height, width, 3)."""
    rng = np.random.default_rng(height * 65536 + width)
    patches = rng.integers(0, 200, (count, height // 16, width // 16, 3)).repeat(16, 1).repeat(16, 2)
    ramp = np.linspace(0, 40, width)[None, None, :, None]
    noise = rng.integers(0, 16, (count, height, width, 3))
    return (patches + ramp + noise).astype(np.uint8)


def _normalised(checkpoint: Checkpoint, image: np.ndarray) -> np.ndarray:
    mean, std = (np.array(v, np.float32) for v in (checkpoint.config.mean, checkpoint.config.std))
    return np.ascontiguousarray(((image / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
