"""The student alone, torch against ONNX Runtime on this CPU: `python benchmarks/engines.py [RUNS]`."""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from partswap.checkpoint import read_checkpoint, resolve_model
from partswap.engine import open_engine

HEIGHT, WIDTH, BATCHES = 256, 192, (1, 8)


def main() -> None:
    """Milliseconds an image, median and least of RUNS, the two engines taking turns."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    checkpoint = read_checkpoint(resolve_model(None))
    engines = [open_engine(checkpoint, name, "cpu", threads=2) for name in ("onnx", "torch")]
    for batch in BATCHES:
        pictures = np.random.default_rng(0).integers(0, 256, (batch, HEIGHT, WIDTH, 3), np.uint8)
        times: dict[str, list[float]] = {engine.name: [] for engine in engines}
        for run in range(runs + 2):
            for engine in engines:
                start = time.perf_counter()
                engine.run(pictures)
                if run >= 2:
                    times[engine.name].append((time.perf_counter() - start) * 1000 / batch)
        medians = {name: statistics.median(each) for name, each in times.items()}
        for name, each in times.items():
            print(f"batch {batch}  {name:<5}  median {medians[name]:6.1f} ms/image  least {min(each):6.1f}")
        print(f"batch {batch}  torch / onnx  {medians['torch'] / medians['onnx']:.2f}")


if __name__ == "__main__":
    main()
