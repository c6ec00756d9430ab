"""The student as an ONNX graph in memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from partswap.engine.loading import load_student
from partswap.errors import PartswapError, UsageError
from partswap.export.half import halve_weights
from partswap.nets.folding import fold_batch_norms

if TYPE_CHECKING:
    import onnx

    from partswap.checkpoint import Checkpoint

__all__ = ["OPSETS", "Pipeline", "student_graph"]

OPSETS = range(18, 24)
"""What `--opset` takes: the exporter has no translations below, ONNX Runtime 1.20 runs none above."""

_LARGEST = 1 << 14
"""Bound of both sides in pixels; the exporter reasons about sizes, and wants one."""


class Pipeline(nn.Module):
    """What the graph computes.

    preprocessing: True for uint8 RGB (B, h, w, 3) in, False for normalised float32 (B, 3, h, w). Out, either
    way: part map float32 (B, K+1, h, w), probabilities.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, student: nn.Module, checkpoint: Checkpoint, preprocessing: bool) -> None:
        super().__init__()
        self.student, self.preprocessing = student, preprocessing
        self.register_buffer("mean", torch.tensor(checkpoint.config.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(checkpoint.config.std).view(1, 3, 1, 1) * 255)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        if self.preprocessing:
            image = (image.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.student(image).softmax(1)


def student_graph(
    checkpoint: Checkpoint, *, half: bool = False, opset: int | None = None, preprocessing: bool = True
) -> onnx.ModelProto:
    """The graph with one input `image` and one output `parts`; batch, height and width are free, both sides
    multiples of the checkpoint's `multiple`. Without metadata, and without paths of this machine.

    Raises UsageError for an opset that cannot be had, ModelError as load_student, PartswapError where the
    exporter fails.
    """
    if opset is not None and opset not in OPSETS:
        raise UsageError(f"opset {opset} cannot be written; choose from {OPSETS[0]} to {OPSETS[-1]}")
    multiple = checkpoint.config.multiple
    sides = 2 * multiple, 3 * multiple
    student: nn.Module = load_student(checkpoint)
    if not half:  # the checkpoint's kernels are float16 already, and exact only as they are
        student = fold_batch_norms(student, torch.zeros(1, 3, *sides))
    pipeline = Pipeline(student, checkpoint, preprocessing).eval()
    if preprocessing:
        example, first_side = torch.zeros(2, *sides, 3, dtype=torch.uint8), 1
    else:
        example, first_side = torch.zeros(2, 3, *sides), 2
    dim, most = torch.export.Dim, _LARGEST // multiple
    shapes = {
        0: dim("batch"),
        first_side: multiple * dim("rows", min=1, max=most),
        first_side + 1: multiple * dim("columns", min=1, max=most),
    }
    model = _export(pipeline, example, shapes, opset, optimize=not half)
    written = next(each.version for each in model.opset_import if not each.domain)
    if opset is not None and written != opset:
        raise PartswapError(f"torch {torch.__version__} wrote opset {written} where {opset} was asked for")
    return halve_weights(_cleaned(model)) if half else _cleaned(model)


def _export(
    net: nn.Module, example: Tensor, shapes: Mapping[int, object], opset: int | None, optimize: bool
) -> onnx.ModelProto:
    talkative = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                net,
                (example,),
                dynamo=True,
                input_names=["image"],
                output_names=["parts"],
                dynamic_shapes=(shapes,),
                opset_version=opset,
                external_data=False,
                optimize=optimize,
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
