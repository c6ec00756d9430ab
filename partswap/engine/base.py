"""The small protocol behind which a checkpoint runs, and the choice of who runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from partswap.engine.cuda import driver
from partswap.engine.device import parse_device
from partswap.errors import DeviceError, ModelError, PartswapError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from partswap.checkpoint import Checkpoint

__all__ = ["ENGINES", "Engine", "open_engine"]

ENGINES = ("onnx", "torch")
"""What `--engine` takes besides `auto`, best first."""


class Engine(Protocol):
    """Runs a checkpoint's nets.

    name: which engine this is, `"onnx"` or `"torch"`. device: where it really runs, `"cpu"`, `"cuda:0"`,
    `"tensorrt:0"`, `"mps"`. providers: ONNX Runtime's execution providers, empty for torch. render_side: the
    longer side, in pixels, of the pictures that the renderer was trained on.
    """

    name: str
    device: str
    providers: tuple[str, ...]
    render_side: int

    def run(self, batch: np.ndarray) -> np.ndarray:
        """RGB pictures uint8 (B, h, w, 3), both sides multiples of the checkpoint's `multiple` -> part map.

        The part map is float32 (B, K+1, h, w): probabilities that sum to 1 over the channels, channel 0 is
        background.
        """
        ...

    def render(
        self, photo: np.ndarray, source_map: np.ndarray, target_map: np.ndarray, look: np.ndarray
    ) -> np.ndarray | None:
        """The renderer: the look of a photo's parts, painted in the shape of another part map.

        photo: RGB uint8 (B, h, w, 3). source_map: its part map, float32 (B, K+1, h, w). target_map: the shape
        to paint, float32 (B, K+1, H, W). look: int64 (B, K), for each painted part the source's part that
        gives its look, both counted from 0. All sides are multiples of 4.

        Returns float32 (B, H, W, 3), RGB in 0..1; None where the checkpoint has no renderer. It is loaded
        when first asked for.
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

    engine: `auto` is ONNX Runtime (a graph that is not there yet is made, once, in the user's cache); torch
    where the runtime or the graph fails, of which `say` is told in one sentence, and on `mps`. threads: for
    work on the CPU; None: see `net_threads`.

    Raises UsageError for an unknown engine or device, DeviceError for a device that is not there, ModelError
    for weights that do not fit.
    """
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"there is no engine {engine[:40]!r}; choose from auto, {', '.join(ENGINES)}")
    kind, _ = parse_device(device)
    if engine == "torch" or (engine == "auto" and kind == "mps"):
        return _torch(checkpoint, device, threads)
    from partswap.engine.onnx_engine import OnnxEngine

    try:
        return OnnxEngine(checkpoint, device, threads, say)
    except (UsageError, ModelError):
        raise
    except DeviceError as error:
        if engine == "onnx" or kind != "cuda" or driver() is None:
            raise
        return _instead(checkpoint, device, threads, say, error)
    except PartswapError as error:
        if engine == "onnx" or kind == "tensorrt":
            raise
        return _instead(checkpoint, device, threads, say, error)


def _instead(
    checkpoint: Checkpoint,
    device: str,
    threads: int | None,
    say: Callable[[str], None],
    error: PartswapError,
) -> Engine:
    """Torch, which may have the CUDA that ONNX Runtime lacks; if it fails too, the first error is the one to
    mend."""
    try:
        engine = _torch(checkpoint, device, threads)
    except DeviceError:
        raise error from None
    say(f"note: torch runs this model instead of ONNX Runtime: {error}")
    return engine


def _torch(checkpoint: Checkpoint, device: str, threads: int | None) -> Engine:
    from partswap.engine.torch_engine import TorchEngine

    return TorchEngine(checkpoint, device, threads)
