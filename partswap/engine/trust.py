"""May a graph that lies in somebody's checkpoint folder be run?

Whoever wrote the folder wrote the weights too, so a graph in it decides no more than they do: what it
computes is the author's word either way, and the key in its metadata (`graphs.graph_key`: the hash of
`model.safetensors` and of the configuration) is a label that finds graphs of other weights, not a proof. What
must not happen is that a graph can do more than weights can. So a graph is run only if all that it may do is
arithmetic on its inputs and on numbers inside the file:

- no data outside the file (a tensor may name any path to be read as numbers);
- only operators of the ONNX standard (no library of somebody's is called, whatever is registered);
- no functions of its own and no sub-graphs (nothing that loops, so a run ends);
- no more bytes than the weights explain.

One that is otherwise is not used, with a line that says why, and the graph is made anew from the weights.
The graph of the embedded models came with partswap, and those in the user's cache were made by partswap on
this machine: both are run as they are, only their key is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["why_untrusted"]

_STANDARD = ("", "ai.onnx")
_ROOM = 1 << 20
"""Bytes for the graph around the weights; the largest that partswap writes is a tenth of this."""


def why_untrusted(data: bytes, weights: int) -> str | None:
    """Why the serialized graph `data` must not be run, as the rest of a sentence; None if it may.

    weights: bytes of the checkpoint's `model.safetensors`, whose kernels are float16; in a graph they may be
    float32.
    """
    if len(data) > 2 * weights + _ROOM:
        return f"it has {len(data)} bytes, far more than its weights"
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors, of which there is more than one implementation
        return f"it is not an ONNX file ({type(error).__name__})"
    domains = {each.domain for each in model.opset_import} | {node.domain for node in model.graph.node}
    foreign = sorted(domains - set(_STANDARD))
    if foreign:
        return f"it uses operators of {', '.join(foreign)[:60]}, and only those of the ONNX standard may run"
    if model.functions or model.training_info:
        return "it brings functions of its own"
    kinds = onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS
    if any(each.type in kinds for node in model.graph.node for each in node.attribute):
        return "it has graphs inside its graph"
    if any(each.external_data or each.data_location for each in _tensors(model)):
        return "it names data outside the file"
    return None


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in model.graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
