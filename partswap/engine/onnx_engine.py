"""The nets in ONNX Runtime, on the CPU, CUDA or TensorRT. Torch is imported only where a graph must first be
made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from partswap.engine.batch import check_batch, check_render
from partswap.engine.cuda import driver
from partswap.engine.device import parse_device
from partswap.engine.graphs import cached_graph, graph_key, graphs_there
from partswap.engine.runtime import PROVIDERS, check_cards, runtime, short
from partswap.engine.session import Session
from partswap.engine.threads import net_threads
from partswap.errors import DeviceError, PartswapError

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

__all__ = ["OnnxEngine"]

_INPUTS = {
    "student": {"image": "tensor(uint8)"},
    "renderer": {
        "image": "tensor(uint8)",
        "source_map": "tensor(float)",
        "target_map": "tensor(float)",
        "look": "tensor(int64)",
    },
}
_OUTPUTS = {"student": "parts", "renderer": "picture"}


class OnnxEngine:
    """See `partswap.engine.base.Engine`. providers: what ONNX Runtime really runs it with, best first."""

    name = "onnx"

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        threads: int | None = None,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Use the graph in the checkpoint's folder, else the one in the user's cache, else make that one.

        device: auto (CUDA, else CPU), cpu, cuda, cuda:N, tensorrt or tensorrt:N. threads: on the CPU; None:
        see `net_threads`. say: told, in one sentence, what is otherwise than expected.

        Raises UsageError for another device, DeviceError, with the mend, for one that cannot be had, and
        PartswapError where there is no ONNX Runtime or no graph can be made.
        """
        kind, self._index = parse_device(device)
        if kind == "mps":
            raise DeviceError("the onnx engine does not run on mps; use --engine torch, or --device cpu")
        self._checkpoint, self._say = checkpoint, say
        self.render_side = max(checkpoint.config.size)
        self._threads = net_threads(threads)
        self._kind = _wanted(kind)
        if kind != "auto":
            check_cards(self._kind, self._index)
        try:
            self._student = self._open("student")
        except DeviceError as error:
            if kind != "auto":
                raise
            say(f"note: runs on the CPU: {error}")
            self._kind = "cpu"
            self._student = self._open("student")
        self.providers = self._student.providers
        self.device = "cpu" if self._kind == "cpu" else f"{self._kind}:{self._index}"
        self._renderer: Session | None = None

    def run(self, batch: np.ndarray) -> np.ndarray:
        """uint8 (B, h, w, 3) -> part map float32 (B, K+1, h, w); raises ValueError for another shape or
        dtype."""
        check_batch(batch, self._checkpoint.config.multiple)
        return self._run(self._student, image=batch)

    def render(
        self, photo: np.ndarray, source_map: np.ndarray, target_map: np.ndarray, look: np.ndarray
    ) -> np.ndarray | None:
        """See `Engine.render`; raises ValueError for other shapes or dtypes."""
        if self._checkpoint.config.renderer is None:
            return None
        check_render(photo, source_map, target_map, look, self._checkpoint.config.parts)
        if self._renderer is None:
            self._renderer = self._open("renderer")
        return self._run(self._renderer, image=photo, source_map=source_map, target_map=target_map, look=look)

    def _run(self, session: Session, **feeds: np.ndarray) -> np.ndarray:
        try:
            return session.run(feeds)
        except Exception as error:  # the runtime's own exceptions share no base class but this
            image = feeds["image"]
            size = f"{len(image)} pictures of {image.shape[2]}x{image.shape[1]}"
            raise PartswapError(
                f"ONNX Runtime failed on {self.device} with {size} ({short(error)}); "
                "if memory is short use --device cpu, else try --engine torch"
            ) from error

    def _open(self, which: str) -> Session:
        for path in graphs_there(self._checkpoint, which):
            try:
                return self._checked(path, which)
            except DeviceError:
                raise
            except PartswapError as error:
                self._say(f"note: {error}, so it is not used")
        self._say(f"making the ONNX graph of this model's {which}, once; this takes some seconds")
        from partswap.export.onnx import export_onnx

        path = cached_graph(self._checkpoint, which)
        export_onnx(self._checkpoint, {which: path}, overwrite=True)
        return self._session(path, _bytes(path))

    def _checked(self, path: Path, which: str) -> Session:
        """The graph at `path`; PartswapError where it is another's."""
        session = self._session(path, _bytes(path))
        problem = _misfit(session, self._checkpoint, which)
        if problem is not None:
            raise PartswapError(f"{path} does not belong here: {problem}")
        return session

    def _session(self, path: Path, data: bytes) -> Session:
        return Session(data, path, self._kind, self._index, self._threads)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PartswapError(f"{path} cannot be read ({error.strerror or error})") from error


def _wanted(kind: str) -> str:
    """`auto` is CUDA where both sides of it may be there, which only trying tells."""
    if kind != "auto":
        return kind
    # onnxruntime-gpu lists CUDA on every machine; without NVIDIA's driver trying it only makes noise
    tempting = PROVIDERS["cuda"] in runtime().get_available_providers() and driver() is not None
    return "cuda" if tempting else "cpu"


def _misfit(session: Session, checkpoint: Checkpoint, which: str) -> str | None:
    """Why this graph is not the checkpoint's; None if it is."""
    key = session.metadata.get("key")
    if key != graph_key(checkpoint, which):
        return f"it was made from other weights ({str(key)[:40]}, not {graph_key(checkpoint, which)})"
    if {name: kind for name, (kind, _) in session.inputs.items()} != _INPUTS[which]:
        return "it takes other inputs (was it written with --bare?)"
    if list(session.outputs) != [_OUTPUTS[which]] or session.outputs[_OUTPUTS[which]][0] != "tensor(float)":
        return "it gives another output"
    if which == "student" and session.outputs["parts"][1][1] != len(checkpoint.parts) + 1:
        return "it gives something else than a part map"
    return None
