"""The small protocol behind which a checkpoint runs, and the choice of who runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from partswap.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from partswap.checkpoint import Checkpoint

__all__ = ["ENGINES", "Engine", "open_engine"]

ENGINES = ("torch",)
"""What `--engine` takes besides `auto`, best first."""


class Engine(Protocol):
    """Runs a checkpoint's student.

    name: which engine this is, `"torch"`. device: where it really runs, `"cpu"`, `"cuda:0"`, `"mps"`.
    """

    name: str
    device: str

    def run(self, batch: np.ndarray) -> np.ndarray:
        """RGB pictures uint8 (B, h, w, 3), both sides multiples of the checkpoint's `multiple` -> part map.

        The part map is float32 (B, K+1, h, w): probabilities that sum to 1 over the channels, channel 0 is
        background.
        """
        ...


def open_engine(checkpoint: Checkpoint, engine: str = "auto", device: str = "auto") -> Engine:
    """Load `checkpoint` into an engine.

    Raises UsageError for an unknown engine or device, DeviceError for a device that is not there, ModelError
    for weights that do not fit.
    """
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"there is no engine {engine[:40]!r}; choose from auto, {', '.join(ENGINES)}")
    from partswap.engine.torch_engine import TorchEngine

    return TorchEngine(checkpoint, device)
