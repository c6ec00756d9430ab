"""The student in ONNX Runtime, on the CPU or CUDA. Torch is imported only where a graph must first be
made."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partswap.engine.batch import check_batch
from partswap.engine.graphs import cached_graph, graph_key, graphs_there
from partswap.errors import DeviceError, PartswapError, UsageError
from partswap.threads import usable_cores

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

__all__ = ["OnnxEngine"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxEngine:
    """See `partswap.engine.base.Engine`. providers: what ONNX Runtime really runs it with, best first."""

    name = "onnx"

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        threads: int | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        make: bool = True,
    ) -> None:
        """Use the graph in the checkpoint's folder, else the one in the user's cache, else, with `make`, make
        that one.

        device: auto (CUDA, else CPU), cpu, cuda or cuda:N. threads: on the CPU; None: one for every core that
        this process may use. say: told, in one sentence, what is otherwise than expected.

        Raises UsageError for another device, DeviceError, with the mend, for CUDA that cannot be had, and
        PartswapError where there is no ONNX Runtime or no graph can be made.
        """
        kind, index = _parse(device)
        self._multiple = checkpoint.config.multiple
        available = _runtime().get_available_providers()
        if kind == "cuda" and _CUDA not in available:
            raise DeviceError(_why_no_cuda())
        # onnxruntime-gpu lists CUDA on every machine; without NVIDIA's driver trying it only makes noise
        tempting = kind == "auto" and _CUDA in available and _driver_there()
        wanted = _CUDA if kind == "cuda" or tempting else _CPU
        self._session = _open(checkpoint, _providers(wanted, index), _threads(threads), say, make)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        if wanted not in self.providers:  # the runtime leaves out, with a warning, what it cannot load
            if kind == "cuda":
                raise DeviceError(_why_no_cuda())
            say(f"note: runs on the CPU: {_why_no_cuda()}")
        self.device = f"cuda:{index}" if _CUDA in self.providers else "cpu"

    def run(self, batch: np.ndarray) -> np.ndarray:
        """uint8 (B, h, w, 3) -> part map float32 (B, K+1, h, w); raises ValueError for another shape or
        dtype."""
        check_batch(batch, self._multiple)
        try:
            return self._session.run(["parts"], {"image": np.ascontiguousarray(batch)})[0]
        except Exception as error:  # the runtime's own exceptions share no base class but this
            size = f"{len(batch)} pictures of {batch.shape[2]}x{batch.shape[1]}"
            raise PartswapError(
                f"ONNX Runtime failed on {self.device} with {size} ({_short(error)}); "
                "if memory is short use --device cpu, else try --engine torch"
            ) from error


def _open(
    checkpoint: Checkpoint, providers: Sequence[Any], threads: int, say: Callable[[str], None], make: bool
) -> Any:
    for path in graphs_there(checkpoint):
        try:
            session = _session(path, providers, threads)
        except DeviceError:
            raise
        except PartswapError as error:
            say(f"note: {error}, so it is not used")
            continue
        misfit = _misfit(session, checkpoint)
        if misfit is None:
            return session
        say(f"note: {path} is not used: {misfit}")
    if not make:
        raise PartswapError("there is no ONNX graph of these weights; --engine onnx makes it, once")
    say("making the ONNX graph of this model, once; this takes about a minute")
    from partswap.export.onnx import export_onnx

    cached = cached_graph(checkpoint)
    export_onnx(checkpoint, cached, overwrite=True)
    return _session(cached, providers, threads)


def _session(path: Path, providers: Sequence[Any], threads: int) -> Any:
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # threads that wait for work by spinning double the CPU time, and take cores from decoding and encoding
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what it would say about providers is said by us, with the mend
    if any(name == _CUDA for name, _ in providers) and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN from pip's nvidia packages, as torch brings them
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
    except Exception as error:  # see run
        if any(name == _CUDA for name, _ in providers) and "CUDA" in str(error):
            raise DeviceError(f"{_why_no_cuda()} ({_short(error)})") from error
        raise PartswapError(f"{path} cannot be loaded ({_short(error)})") from error


def _misfit(session: Any, checkpoint: Checkpoint) -> str | None:
    """Why this graph is not the checkpoint's; None if it is."""
    key = session.get_modelmeta().custom_metadata_map.get("key")
    if key != graph_key(checkpoint):
        return f"it was made from other weights ({str(key)[:40]}, not {graph_key(checkpoint)})"
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [each.name for each in inputs], [each.name for each in outputs]
    if names != (["image"], ["parts"]) or inputs[0].type != "tensor(uint8)":
        return "it takes other inputs (was it written with --bare?)"
    if outputs[0].type != "tensor(float)" or outputs[0].shape[1] != len(checkpoint.parts) + 1:
        return "it gives something else than a part map"
    return None


def _parse(device: str) -> tuple[str, int]:
    match = re.fullmatch(r"(auto|cpu|mps|cuda)(?::(\d{1,3}))?", device.strip().lower())
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"there is no device {device[:40]!r}; choose from auto, cpu, cuda, cuda:1, mps")
    if match[1] == "mps":
        raise DeviceError("the onnx engine does not run on mps; use --engine torch, or --device cpu")
    return match[1], int(match[2] or 0)


def _providers(wanted: str, index: int) -> list[tuple[str, dict[str, Any]]]:
    cpu: tuple[str, dict[str, Any]] = (_CPU, {})
    return [(_CUDA, {"device_id": index}), cpu] if wanted == _CUDA else [cpu]


def _threads(asked: int | None) -> int:
    if asked is not None:
        if not 1 <= asked <= 1024:
            raise UsageError(f"--threads {asked} is not possible; give 1 to 1024")
        return asked
    return usable_cores()


def _why_no_cuda() -> str:
    onnxruntime = _runtime()
    version = onnxruntime.__version__
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and share files, so CUDA is missing; run: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )
    if _CUDA not in onnxruntime.get_available_providers():
        return (
            f"device cuda is not there: this ONNX Runtime ({version}) is built without CUDA; run: "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu, or use --device cpu"
        )
    cuda = getattr(onnxruntime, "cuda_version", "") or "unknown"
    return (
        f"device cuda is not there: ONNX Runtime {version} wants CUDA {cuda} with cuDNN 9, and a card that "
        "answers (see nvidia-smi); for the libraries run: pip install 'onnxruntime-gpu[cuda,cudnn]', "
        "or use --device cpu"
    )


def _driver_there() -> bool:
    """Whether NVIDIA's driver library can be loaded: no machine without it can run CUDA."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _runtime() -> Any:
    try:
        import onnxruntime
    except Exception as error:  # broken wheels raise whatever their libraries do
        raise PartswapError(
            f"ONNX Runtime cannot be imported ({_short(error)}); run: pip install onnxruntime-gpu "
            "(on macOS: onnxruntime), or use --engine torch"
        ) from error
    onnxruntime.set_default_logger_severity(4)  # what it would say about providers is said by us
    return onnxruntime


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
