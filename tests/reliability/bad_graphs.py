"""Bad and hostile `model.onnx` files beside good weights; a hostile one carries the right key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cases import FINE

__all__ = ["graph_cases"]

Spoil = Callable[[Path], object]


def graph_cases() -> Iterator[tuple[str, Spoil, str, str]]:
    """Name, what writes the graph into a checkpoint's folder, what is wrong with it, what is expected.

    All are expected to be left aside: the weights are good, so the command does its work without the graph.
    """
    for name, (content, about) in {
        "empty": (b"", "no bytes"),
        "text": (b"no graph at all", "text"),
        "zeros": (bytes(4096), "zero bytes"),
        "bytes": (b"\x08\x0a\x12\xff\xff\xff\xff\x7f" + bytes(64), "a field longer than the file"),
    }.items():
        yield name, _putting(content), f"model.onnx: {about}", FINE
    yield "folder", lambda place: (place / "model.onnx").mkdir(), "model.onnx: a folder", FINE
    for name, (build, about) in {
        "no-key": (lambda key: _model([_flat()], key="other"), "made from other weights"),
        "wrong-output": (lambda key: _model([_flat()], key, channels=3), "another number of parts"),
        "external": (lambda key: _external("../../secret.bin", key), "numbers from a file outside"),
        "external-absolute": (lambda key: _external("/etc/hostname", key), "numbers from the system's files"),
        "endless": (_endless, "a loop that never ends"),
        "enormous": (_enormous, "a tensor of 10^13 numbers"),
        "foreign-op": (_foreign, "an operation of its own"),
    }.items():
        yield name, _building(build), f"model.onnx: {about}", FINE


def _putting(content: bytes) -> Spoil:
    return lambda place: (place / "model.onnx").write_bytes(content)


def _building(build: Callable[[str], Any]) -> Spoil:
    def spoil(place: Path) -> None:
        from partswap.checkpoint import read_checkpoint
        from partswap.engine.graphs import graph_key

        (place.parent / "secret.bin").write_bytes(bytes(4096))
        graph = build(graph_key(read_checkpoint(place)))
        (place / "model.onnx").write_bytes(graph.SerializeToString())

    return spoil


def _flat() -> Any:
    """A node that gives one channel of the picture, whatever it shows."""
    from onnx import helper

    return helper.make_node("Identity", ["start"], ["parts"])


def _model(nodes: list[Any], key: str, channels: int | None = None, tensors: list[Any] | None = None) -> Any:
    """Input and output as partswap's own graphs have them; `nodes` make `parts` of `start` (B, 3, h, w)."""
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", "h", "w", 3])
    parts = helper.make_tensor_value_info("parts", TensorProto.FLOAT, ["b", channels or "k", "h", "w"])
    before = [
        helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["start"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph([*before, *nodes], "graph", [image], [parts], tensors or [])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, {"key": key})
    return model


def _external(location: str, key: str) -> Any:
    from onnx import TensorProto, helper

    tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[1, 1, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for name, value in (("location", location), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=name, value=value)
    return _model([helper.make_node("Add", ["start", "table"], ["parts"])], key, tensors=[tensor])


def _endless(key: str) -> Any:
    from onnx import TensorProto, helper

    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    carried = helper.make_tensor_value_info("carried", TensorProto.FLOAT, None)
    going = helper.make_tensor_value_info("going", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    more = helper.make_tensor_value_info("more", TensorProto.BOOL, [])
    next_one = helper.make_tensor_value_info("next", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["more"]), helper.make_node("Neg", ["carried"], ["next"])],
        "body",
        [turn, going, carried],
        [more, next_one],
    )
    return _model(
        [helper.make_node("Loop", ["", "true", "start"], ["parts"], body=body)], key, tensors=[true]
    )


def _enormous(key: str) -> Any:
    from onnx import TensorProto, helper

    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [1, 10, 10**6, 10**6])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["wide"]),
        helper.make_node("Add", ["start", "wide"], ["parts"]),
    ]
    return _model(nodes, key, tensors=[shape])


def _foreign(key: str) -> Any:
    from onnx import helper

    return _model([helper.make_node("Run", ["start"], ["parts"], domain="com.example")], key)
