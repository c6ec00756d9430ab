"""Does ONNX Runtime compute what torch computes? Several sizes and batches, measured, not assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from partswap.engine.batch import RENDER_MULTIPLE
from partswap.engine.torch_engine import TorchEngine

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

__all__ = ["BATCHES", "LIMITS", "Comparison", "Row", "within", "worst"]

BATCHES = (1, 2, 5)
LIMITS = {"fp32": (1e-4, 0.999), "fp16": (5e-3, 0.995)}
"""Precision -> the largest difference of values in 0..1, and the least share of pixels that come out the
same."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    batch: B. height, width: pixels. difference: the largest absolute difference of any probability, or of any
    colour of a picture, 0..1. agreement: the share of pixels with the same most probable part, or, in a
    picture, within one level of 255.
    """

    batch: int
    height: int
    width: int
    difference: float
    agreement: float


class Comparison:
    """One net of a checkpoint in torch, on the CPU in float32, on drawn pictures: 3 sizes, each at every
    batch of `BATCHES`. Torch runs once, however many graphs are compared with it."""

    def __init__(self, checkpoint: Checkpoint, which: str, preprocessing: bool) -> None:
        """which: student or renderer. preprocessing: whether the graphs take pixels, or what is normalised
        already."""
        self._checkpoint, self._which, self._preprocessing = checkpoint, which, preprocessing

    def rows(self, model: bytes, optimized: bool = True) -> list[Row]:
        """Run the serialized graph in ONNX Runtime on the CPU and compare. optimized: False runs every node
        as it is written, nothing joined."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [self._row(session.run(None, feeds)[0], expected) for feeds, expected in self._cases]

    @cached_property
    def _cases(self) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
        """What the graph is fed, and what torch made of the same."""
        engine = TorchEngine(self._checkpoint, "cpu")
        cases = []
        for inputs in self._inputs():
            if self._which == "student":
                expected = engine.run(inputs["image"])
            else:
                photo, *rest = inputs.values()
                painted = engine.render(photo, *rest)
                assert painted is not None
                expected = painted
            if not self._preprocessing:
                inputs = {**inputs, "image": self._normalised(inputs["image"])}
            cases.append((inputs, expected))
        return cases

    def _inputs(self) -> Iterator[dict[str, np.ndarray]]:
        config = self._checkpoint.config
        student = self._which == "student"
        multiple = config.multiple if student else RENDER_MULTIPLE
        long = config.input_long_side if student else max(config.size)
        for height, width in _sizes(long, multiple):
            # Drawn once and compared as they stand, so that a batch also shows that pictures do not mix
            pictures = _pictures(max(BATCHES), height, width)
            for batch in BATCHES:
                image = np.ascontiguousarray(pictures[-batch:])
                if student:
                    yield {"image": image}
                    continue
                rng = np.random.default_rng(batch)
                look = np.stack([rng.permutation(config.parts) for _ in range(batch)])
                yield {
                    "image": image,
                    "source_map": _part_maps(image, config.parts),
                    "target_map": _part_maps(image[:, :, ::-1].transpose(0, 2, 1, 3), config.parts),
                    "look": look.astype(np.int64),
                }

    def _row(self, found: np.ndarray, expected: np.ndarray) -> Row:
        if self._which == "student":
            same = found.argmax(1) == expected.argmax(1)
            height, width = found.shape[2:]
        else:
            if not self._preprocessing:
                mean, std = self._constants()
                found = np.clip(found.transpose(0, 2, 3, 1) * std + mean, 0, 1)
            same = (np.abs(found - expected) <= 1 / 255).all(-1)
            height, width = found.shape[1:3]
        return Row(len(found), height, width, float(np.abs(found - expected).max()), float(same.mean()))

    def _normalised(self, image: np.ndarray) -> np.ndarray:
        mean, std = self._constants()
        return np.ascontiguousarray(((image / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))

    def _constants(self) -> tuple[np.ndarray, np.ndarray]:
        config = self._checkpoint.config
        return np.array(config.mean, np.float32), np.array(config.std, np.float32)


def within(rows: Sequence[Row], precision: str) -> bool:
    """Whether every row keeps to `LIMITS[precision]`; NaN does not."""
    most, least = LIMITS[precision]
    return all(row.difference <= most and row.agreement >= least for row in rows)


def worst(rows: Sequence[Row]) -> tuple[float, float]:
    """The largest difference and the least agreement of all rows."""
    return max(row.difference for row in rows), min(row.agreement for row in rows)


def _sizes(long_side: int, multiple: int) -> list[tuple[int, int]]:
    """Upright and lying as photos come, and one that is small and of another shape."""
    long = -(-long_side // multiple) * multiple
    short = max(multiple, round(long * 0.6 / multiple) * multiple)
    small = max(multiple, 16)
    return [(long, short), (short, long), (small, 2 * small)]


def _pictures(count: int, height: int, width: int) -> np.ndarray:
    """Patches, gradients and some noise: uint8 (count, height, width, 3)."""
    rng = np.random.default_rng(height * 65536 + width)
    shape = count, -(-height // 16), -(-width // 16), 3
    patches = rng.integers(0, 200, shape).repeat(16, 1).repeat(16, 2)[:, :height, :width]
    ramp = np.linspace(0, 40, width)[None, None, :, None]
    noise = rng.integers(0, 16, (count, height, width, 3))
    return (patches + ramp + noise).astype(np.uint8)


def _part_maps(pictures: np.ndarray, parts: int) -> np.ndarray:
    """A part map of patches for each picture: float32 (B, K+1, h, w), sums of 1."""
    batch, height, width, _ = pictures.shape
    rng = np.random.default_rng(height * 65536 + width + parts)
    shape = batch, parts + 1, -(-height // 16), -(-width // 16)
    patches = rng.gamma(0.3, size=shape).repeat(16, 2).repeat(16, 3)[:, :, :height, :width] + 1e-3
    return (patches / patches.sum(1, keepdims=True)).astype(np.float32)
