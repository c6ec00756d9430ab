"""float16 arithmetic, for cards that are fast at it, in as much of a graph as the limits allow.

The first layers of a net see the pixels themselves, and what rounding costs there grows through all layers
that follow. So they stay float32: as many as it takes. What a card would compute is worked out on the CPU, in
float32 with a rounding to float16 after every node and of every kernel: a matrix unit multiplies float16 and
adds up in float32. (ONNX Runtime on a CPU would not show it: it has no float16 convolution and computes the
graph in float32.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from partswap.export.parity import Comparison, Row, within, worst

__all__ = ["halved"]

_SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75)
"""Shares of the convolutions that stay float32, tried in this order."""
_OPERATORS = {"Conv", "Relu", "Clip", "Add", "Mul", "Sigmoid", "HardSigmoid", "HardSwish", "Resize", "Concat"}
_NUMBERS = {"Conv": (0, 1, 2), "Clip": (0, 1, 2), "Resize": (0,)}
"""Which inputs are numbers in the graph's arithmetic; all of them for the other operators."""


def halved(model: onnx.ModelProto, comparison: Comparison) -> tuple[onnx.ModelProto, list[Row]]:
    """The float32 graph with float16 arithmetic in most of it, and how what a card computes compares.

    If no share keeps to the limits, the rows of the best say so.
    """
    best: tuple[onnx.ModelProto, list[Row]] | None = None
    for share in _SHARES:
        chosen = _chosen(model, share)
        rows = comparison.rows(_rounded(model, chosen).SerializeToString(), optimized=False)
        if best is None or worst(rows)[0] < worst(best[1])[0]:
            best = _converted(model, chosen), rows
        if within(rows, "fp16"):
            break
    assert best is not None
    return best


def _chosen(model: onnx.ModelProto, share: float) -> set[str]:
    """Names of nodes, from the first convolution that is not kept to the last one."""
    nodes = list(model.graph.node)
    convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
    kept = round(share * len(convolutions))
    if kept >= len(convolutions):
        return set()
    features: set[str] = set()  # not the sizes, which are worked out with the same operators
    for node in nodes:
        if node.op_type == "Conv" or (node.op_type in _OPERATORS and features & set(node.input)):
            features.add(node.output[0])
    inside = nodes[convolutions[kept] : convolutions[-1] + 1]
    return {node.name for node in inside if node.output[0] in features}


def _inputs(node: onnx.NodeProto) -> Iterator[int]:
    """Places of the node's inputs that are rounded."""
    for place in _NUMBERS.get(node.op_type, range(len(node.input))):
        if place < len(node.input) and node.input[place]:
            yield place


def _rounded(model: onnx.ModelProto, chosen: set[str]) -> onnx.ModelProto:
    """float32 throughout, the chosen nodes' inputs and outputs rounded to float16."""
    copy = _Rewriter(model)
    for node in model.graph.node:
        if node.name not in chosen:
            copy.add(node)
            continue
        renamed = copy.renamed(node, {i: copy.cast_twice(node.input[i]) for i in _inputs(node)})
        exact = f"{node.output[0]}.exact"
        renamed.output[0] = exact
        copy.add(renamed)
        copy.cast_twice(exact, node.output[0])
    return copy.finished()


def _converted(model: onnx.ModelProto, chosen: set[str]) -> onnx.ModelProto:
    """The chosen nodes in float16, with casts where the precision changes and kernels stored as float16."""
    copy = _Rewriter(model)
    halves: set[str] = set()
    for node in model.graph.node:
        if node.name in chosen:
            names = {i: copy.as_half(node.input[i], node.input[i] in halves) for i in _inputs(node)}
            copy.add(copy.renamed(node, names))
            halves.add(node.output[0])
        else:
            names = {i: copy.as_float(name) for i, name in enumerate(node.input) if name in halves}
            copy.add(copy.renamed(node, names))
    return copy.finished()


class _Rewriter:
    """Writes a graph's nodes anew, with casts between them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._constants = {each.name: each for each in model.graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[str, onnx.TensorProto] = {}
        self._casts: set[str] = set()

    def add(self, node: onnx.NodeProto) -> None:
        self._nodes.append(node)

    def renamed(self, node: onnx.NodeProto, names: dict[int, str]) -> onnx.NodeProto:
        """A copy with some inputs under other names."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for place, name in names.items():
            copy.input[place] = name
        return copy

    def cast_twice(self, name: str, out: str | None = None) -> str:
        """`name` rounded to float16, in float32."""
        if name in self._constants:
            values = numpy_helper.to_array(self._constants[name])
            return self._constant(f"{name}.rounded", values.astype(np.float16).astype(values.dtype))
        out = out or f"{name}.rounded"
        self._cast(name, f"{out}.narrow", TensorProto.FLOAT16)
        return self._cast(f"{out}.narrow", out, TensorProto.FLOAT)

    def as_half(self, name: str, already: bool) -> str:
        """`name` in float16."""
        if already:
            return name
        if name in self._constants:
            values = numpy_helper.to_array(self._constants[name])
            return self._constant(f"{name}.half", values.astype(np.float16))
        return self._cast(name, f"{name}.half", TensorProto.FLOAT16)

    def as_float(self, name: str) -> str:
        """`name`, which is float16, in float32."""
        return self._cast(name, f"{name}.float", TensorProto.FLOAT)

    def finished(self) -> onnx.ModelProto:
        """The new graph, with only the constants that it uses."""
        graph = self._model.graph
        used = set(_names(self._nodes))
        constants = [each for each in (*self._constants.values(), *self._made.values()) if each.name in used]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(constants)
        return self._model

    def _constant(self, name: str, values: np.ndarray) -> str:
        self._made.setdefault(name, numpy_helper.from_array(values, name))
        return name

    def _cast(self, name: str, out: str, to: int) -> str:
        if out not in self._casts:
            self._casts.add(out)
            self._nodes.append(helper.make_node("Cast", [name], [out], name=f"{out}.cast", to=to))
        return out


def _names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
