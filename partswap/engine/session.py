"""One ONNX graph in ONNX Runtime, its inputs and outputs bound to the device that it runs on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from partswap.engine.runtime import CPU, PROVIDERS, preload, providers_for, runtime, short, why_not
from partswap.errors import DeviceError, PartswapError

__all__ = ["Session"]


class Session:
    """providers: what ONNX Runtime really runs the graph with, best first. metadata: the graph's own."""

    def __init__(self, data: bytes, name: Path, kind: str, index: int, threads: int) -> None:
        """data: the serialized graph; name: where it came from. kind, index: see `parse_device`, not `auto`.

        Raises DeviceError, with the mend, where the device's provider is not among the session's own, and
        PartswapError for a graph that cannot be loaded.
        """
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait for work by spinning take cores from whoever decodes the next photo, and where
        # another process has a core they wait for each other: 17 ms a photo where 9 do without.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what it would say about providers is said by us, with the mend
        if kind != "cpu":
            preload()
        try:
            # without its own fallback, which would run on the processor and tell stdout about it
            self._session = onnxruntime.InferenceSession(
                data, options, providers=providers_for(kind, index), enable_fallback=0
            )
        except Exception as error:  # the runtime's own exceptions share no base class but this
            if kind != "cpu" and any(word in str(error) for word in ("CUDA", "CUDNN", "TensorRT")):
                raise DeviceError(f"{why_not(kind)} ({short(error)})") from error
            raise PartswapError(f"{name} cannot be loaded ({short(error)})") from error
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        if PROVIDERS[kind] not in self.providers:  # it leaves out, with a warning, what it cannot load
            raise DeviceError(why_not(kind))
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = {each.name: (each.type, each.shape) for each in self._session.get_inputs()}
        self.outputs = {each.name: (each.type, each.shape) for each in self._session.get_outputs()}
        on_card = self.providers[0] != CPU
        self._place = ("cuda", index) if on_card else ("cpu", 0)
        self._held: dict[str, Any] = {}
        self._turn = threading.Lock()

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The graph's one output for these inputs. Whatever the runtime raises passes through.

        Inputs lie in memory of the device that is kept for the next batch of the same shape, so that a folder
        costs one copy a batch and no allocation. Callers on several threads take turns: a run has all cores,
        or the card, to itself.
        """
        output = next(iter(self.outputs))
        with self._turn:
            binding = self._session.io_binding()
            for name, array in feeds.items():
                binding.bind_ortvalue_input(name, self._on_device(name, np.ascontiguousarray(array)))
            binding.bind_output(output, *self._place)
            self._session.run_with_iobinding(binding)
            return binding.copy_outputs_to_cpu()[0]

    def _on_device(self, name: str, array: np.ndarray) -> Any:
        held = self._held.get(name)
        if held is None or tuple(held.shape()) != array.shape:
            value = runtime().OrtValue
            held = value.ortvalue_from_shape_and_type(array.shape, array.dtype.type, *self._place)
            self._held[name] = held
        held.update_inplace(array)
        return held
