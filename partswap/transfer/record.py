"""What a transfer did, in plain Python values: the library's `.record` and the command's `--json`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from partswap.transfer.layers import Layer, Subject
from partswap.transfer.plan import Wish

__all__ = ["Clock", "part_record"]


class Clock:
    """Adds up seconds by the name of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in self.seconds.items()}


def part_record(wish: Wish, layers: list[Layer], subjects: tuple[Subject, Subject]) -> dict[str, Any]:
    """One part's entry.

    Returns name, to, source_ids, target_ids, source_pixels, target_pixels, and four shares of the target's
    area that add up to 1: real (the source's own pixels), mirrored, filled, rendered.
    """
    mass = [float(layer.weight.sum()) for layer in layers]
    total = max(sum(mass), 1e-9)
    shares = {
        kind: round(
            sum(m * getattr(layer.shown, kind) for m, layer in zip(mass, layers, strict=True)) / total, 4
        )
        for kind in ("real", "mirrored", "filled", "rendered")
    }
    return {
        "name": wish.name,
        "to": wish.to,
        "source_ids": list(wish.source),
        "target_ids": list(wish.target),
        "source_pixels": pixels(subjects[0], wish.source),
        "target_pixels": pixels(subjects[1], wish.target),
        **shares,
    }


def pixels(subject: Subject, ids: tuple[int, ...]) -> int:
    """How many pixels of the photo some parts cover."""
    import numpy as np

    counts = np.bincount(subject.labels.ravel(), minlength=256)
    return int(counts[list(ids)].sum())
