"""The small protocol behind which a checkpoint runs, and the choice of who runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from partswap.errors import ModelError, PartswapError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from partswap.checkpoint import Checkpoint

__all__ = ["ENGINES", "Engine", "open_engine"]

ENGINES = ("onnx", "torch")
"""What `--engine` takes besides `auto`, best first."""


class Engine(Protocol):
    """Runs a checkpoint's student.

    name: which engine this is, `"onnx"` or `"torch"`. device: where it really runs, `"cpu"`, `"cuda:0"`,
    `"mps"`. providers: ONNX Runtime's execution providers, empty for torch.
    """

    name: str
    device: str
    providers: tuple[str, ...]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """RGB pictures uint8 (B, h, w, 3), both sides multiples of the checkpoint's `multiple` -> part map.

        The part map is float32 (B, K+1, h, w): probabilities that sum to 1 over the channels, channel 0 is
        background.
        """
        ...


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def open_engine(
    checkpoint: Checkpoint,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = _to_stderr,
) -> Engine:
    """Load `checkpoint` into an engine.

    engine: `auto` is ONNX Runtime where there is a graph already, with an embedded model or in the user's
    cache (`onnx` makes it), else torch. Where the graph or the runtime fails, `say` is told in one sentence.
    threads: for work on the CPU; None: the cores that there are.

    Raises UsageError for an unknown engine or device, DeviceError for a device that is not there, ModelError
    for weights that do not fit.
    """
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"there is no engine {engine[:40]!r}; choose from auto, {', '.join(ENGINES)}")
    if engine == "onnx":
        return _onnx(checkpoint, device, threads, say)
    from partswap.engine.graphs import graphs_there

    if engine == "auto" and device.strip().lower() != "mps" and graphs_there(checkpoint):
        try:
            return _onnx(checkpoint, device, threads, say, make=False)
        except (UsageError, ModelError):
            raise
        except PartswapError as error:  # a DeviceError too: torch may have the CUDA that the runtime lacks
            say(f"note: torch runs this model instead of ONNX Runtime: {error}")
    from partswap.engine.torch_engine import TorchEngine

    return TorchEngine(checkpoint, device, threads)


def _onnx(
    checkpoint: Checkpoint, device: str, threads: int | None, say: Callable[[str], None], make: bool = True
) -> Engine:
    from partswap.engine.onnx_engine import OnnxEngine

    return OnnxEngine(checkpoint, device, threads, say, make)
