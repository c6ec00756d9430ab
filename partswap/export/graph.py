"""A checkpoint's nets as ONNX graphs in memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from partswap.engine.batch import RENDER_MULTIPLE
from partswap.engine.loading import load_renderer, load_student
from partswap.errors import PartswapError, UsageError
from partswap.export.storage import store_compactly
from partswap.nets.folding import fold_batch_norms
from partswap.nets.pipelines import Paint, Segment

if TYPE_CHECKING:
    import onnx

    from partswap.checkpoint import Checkpoint

__all__ = ["OPSETS", "make_graph"]

OPSETS = range(18, 24)
"""What `--opset` takes: the exporter has no translations below, ONNX Runtime 1.20 runs none above."""

_LARGEST = 1 << 14
"""Bound of both sides in pixels; the exporter reasons about sizes, and wants one."""


@dataclass(frozen=True)
class _Plan:
    """What to trace: a net, one example for each input, and which sides of them are free."""

    net: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    output: str
    shapes: tuple[Mapping[int, Any], ...]


def make_graph(
    checkpoint: Checkpoint,
    which: str = "student",
    *,
    opset: int | None = None,
    preprocessing: bool = True,
    compact: bool = True,
) -> onnx.ModelProto:
    """The graph of the `student` (`partswap.nets.pipelines.Segment`) or the `renderer` (`Paint`).

    Batch, heights and widths are free. Without metadata, and without paths of this machine. compact: kernels
    as float16, see `storage`. Raises UsageError for an opset that cannot be had or a checkpoint without
    renderer, ModelError as load_student, PartswapError where the exporter fails.
    """
    if opset is not None and opset not in OPSETS:
        raise UsageError(f"opset {opset} cannot be written; choose from {OPSETS[0]} to {OPSETS[-1]}")
    plan = (_student if which == "student" else _renderer)(checkpoint, preprocessing)
    kernels = {
        name: value.detach().clone() for name, value in plan.net.state_dict().items() if value.ndim > 1
    }
    scales = fold_batch_norms(plan.net.eval(), *plan.examples)
    model = _export(plan, opset)
    written = next(each.version for each in model.opset_import if not each.domain)
    if opset is not None and written != opset:
        raise PartswapError(f"torch {torch.__version__} wrote opset {written} where {opset} was asked for")
    return store_compactly(_cleaned(model), kernels, scales) if compact else _cleaned(model)


def _student(checkpoint: Checkpoint, preprocessing: bool) -> _Plan:
    config = checkpoint.config
    net = Segment(load_student(checkpoint), config.mean, config.std, preprocessing)
    batch = torch.export.Dim("batch")
    image, shape = _image(2 * config.multiple, 3 * config.multiple, config.multiple, preprocessing, "")
    return _Plan(net, (image,), ("image",), "parts", ({0: batch, **shape},))


def _renderer(checkpoint: Checkpoint, preprocessing: bool) -> _Plan:
    config = checkpoint.config
    renderer = load_renderer(checkpoint)
    if renderer is None:
        raise UsageError(f"the model {config.name} has no renderer")
    net = Paint(renderer, config.mean, config.std, preprocessing)
    batch = torch.export.Dim("batch")
    image, photo = _image(48, 32, RENDER_MULTIPLE, preprocessing, "source_")
    rows, columns = photo.values()
    maps = config.parts + 1
    _, target = _image(40, 56, RENDER_MULTIPLE, False, "target_")
    examples = (
        image,
        torch.full((2, maps, 48, 32), 1 / maps),
        torch.full((2, maps, 40, 56), 1 / maps),
        torch.arange(config.parts).repeat(2, 1),
    )
    shapes = (
        {0: batch, **photo},
        {0: batch, 2: rows, 3: columns},
        {0: batch, **target},
        {0: batch},
    )
    return _Plan(net, examples, ("image", "source_map", "target_map", "look"), "picture", shapes)


def _image(
    height: int, width: int, multiple: int, preprocessing: bool, prefix: str
) -> tuple[Tensor, dict[int, Any]]:
    """An example picture of two, and its free sides: multiples of `multiple`."""
    dim, most = torch.export.Dim, _LARGEST // multiple
    rows = multiple * dim(f"{prefix}rows", min=1, max=most)
    columns = multiple * dim(f"{prefix}columns", min=1, max=most)
    if preprocessing:
        return torch.zeros(2, height, width, 3, dtype=torch.uint8), {1: rows, 2: columns}
    return torch.zeros(2, 3, height, width), {2: rows, 3: columns}


def _export(plan: _Plan, opset: int | None) -> onnx.ModelProto:
    talkative = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                plan.net,
                plan.examples,
                dynamo=True,
                input_names=list(plan.inputs),
                output_names=[plan.output],
                dynamic_shapes=plan.shapes,
                opset_version=opset,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # the exporter's many layers raise whatever they like
        first = str(error).strip().splitlines() or [""]
        raise PartswapError(
            f"this model cannot be written as ONNX with torch {torch.__version__} "
            f"({type(error).__name__}: {first[0][:120]}); --engine torch runs it without"
        ) from error
    finally:
        for logger, level in zip(talkative, levels, strict=True):
            logger.setLevel(level)
    assert program is not None  # None only from the old exporter
    return program.model_proto


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes on every node: stack traces with this machine's paths, half the
    graph's size."""
    graph = model.graph
    del graph.value_info[:]
    for each in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        each.doc_string = ""
        del each.metadata_props[:]
    del graph.metadata_props[:]
    return model
