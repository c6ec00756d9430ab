"""Kernels in a file as the checkpoint has them: float16 where that loses nothing, at half the size.

A checkpoint's kernels are float16. Folding batch normalisation into them multiplies each by a float32 number
per channel, and the product is float32; so the graph holds both factors, and multiplies. ONNX Runtime does
that once, when it loads the file, bit for bit as it was done here. Arithmetic stays float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["store_compactly"]


def store_compactly(
    model: onnx.ModelProto, kernels: Mapping[str, Tensor], scales: Mapping[str, Tensor]
) -> onnx.ModelProto:
    """Replace, in place, every float32 kernel and matrix that is float16 in truth.

    kernels: name of an initializer -> float32 tensor before folding. scales: name -> float32 (C,), what
    folding multiplied the kernel's first axis with. Vectors (biases) stay as they are: they are few.
    """
    graph = model.graph
    nodes, added = [], []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        half, scale = _factors(name, values, kernels, scales)
        if half is None:
            continue
        stored, wide = f"{name}.half", name if scale is None else f"{name}.wide"
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        nodes.append(helper.make_node("Cast", [stored], [wide], name=f"{name}.cast", to=TensorProto.FLOAT))
        if scale is not None:
            added.append(numpy_helper.from_array(scale, f"{name}.scale"))
            nodes.append(helper.make_node("Mul", [wide, f"{name}.scale"], [name], name=f"{name}.fold"))
    graph.initializer.extend(added)
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _factors(
    name: str, values: np.ndarray, kernels: Mapping[str, Tensor], scales: Mapping[str, Tensor]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """float16 kernel and float32 scale (C, 1, ...) whose product is `values` exactly; None where there is
    none."""
    half = _exact_half(values)
    if half is not None:
        return half, None
    if name not in scales or name not in kernels:
        return None, None
    kernel = kernels[name].numpy()
    scale = scales[name].numpy().astype(np.float32).reshape(-1, *[1] * (kernel.ndim - 1))
    half = _exact_half(kernel)
    if half is None or not np.array_equal(kernel * scale, values):
        return None, None
    return half, scale


def _exact_half(values: np.ndarray) -> np.ndarray | None:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else None
