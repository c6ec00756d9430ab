"""Photos that the net is unsure of are offered to it turned as well.

It learned from people who stand: of somebody who lies, crawls or holds a plank it is much surer when the
photo is turned so that the head is up, and then it is right far more often (docs/research.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["confidence", "is_unsure", "part_maps_in_turns"]

QUARTER_TURNS = (1, 3)
"""Anticlockwise. Upside down is left out: hardly any photo is, and it was best for none of twelve tried."""
SURE = 0.55
"""At this confidence a photo is not turned. Street photos have .63 and more."""
MARGIN = 0.05
"""How much surer the net must be of the turned photo."""
AGREE = 0.7
"""Overlap (intersection over union) of the two foregrounds below which a turned photo is not believed: where
the net takes half the background for a body, it is sure of the wrong thing."""


def confidence(part_maps: np.ndarray) -> np.ndarray:
    """How sure the net is of which part it sees.

    Args:
        part_maps: float32 (n, K+1, h, w), probabilities, channel 0 background.

    Returns:
        float32 (n,) in [0, 1]: the largest probability of a part given foreground, averaged over what is
        rather foreground; 1 where there is none, as turning would find nothing to choose by.
    """
    foreground = 1 - part_maps[:, 0]
    on = foreground > 0.5
    largest = np.where(on, part_maps[:, 1:].max(axis=1), 0).sum(axis=(1, 2))
    whole = np.where(on, foreground, 0).sum(axis=(1, 2))
    return np.where(whole > 0, largest / np.maximum(whole, 1e-6), 1.0).astype(np.float32)


def is_unsure(part_map: np.ndarray) -> bool:
    """Whether the net was unsure of a photo: float32 (K+1, h, w)."""
    return bool(confidence(part_map[None])[0] < SURE)


def part_maps_in_turns(run: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> np.ndarray:
    """Part maps of photos, each from the quarter turn at which the net is surest of it.

    Args:
        run: uint8 (n, h, w, 3) -> float32 (n, K+1, h, w), of an engine; batch: uint8 (n, h, w, 3), h and w
            multiples of the net's stride.

    Returns:
        float32 (n, K+1, h, w), in the frame of the batch.
    """
    part_maps = run(batch)
    sure = confidence(part_maps)
    unsure = np.flatnonzero(sure < SURE)
    if not len(unsure):
        return part_maps
    best = sure[unsure] + MARGIN
    upright = 1 - part_maps[unsure, 0]
    part_maps = np.array(part_maps)  # what an engine hands out is the engine's
    for turn in QUARTER_TURNS:
        turned = run(np.ascontiguousarray(np.rot90(batch[unsure], turn, axes=(1, 2))))
        surer = confidence(turned)
        back = np.rot90(turned, -turn, axes=(2, 3))
        better = (surer > best) & (_overlap(upright, 1 - back[:, 0]) > AGREE)
        part_maps[unsure[better]] = back[better]
        best = np.where(better, surer, best)
    return part_maps


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of shares in [0, 1]: two (n, h, w) -> (n,)."""
    either = np.maximum(first, second).sum(axis=(1, 2))
    return np.minimum(first, second).sum(axis=(1, 2)) / np.maximum(either, 1e-6)
