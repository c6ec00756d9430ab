"""The student as an ONNX file that was checked against torch before it got its name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from partswap.engine.graphs import graph_key
from partswap.errors import PartswapError
from partswap.export.parity import LIMITS, Row, compare, within, worst
from partswap.imaging.save import atomic_write, refuse_existing

if TYPE_CHECKING:
    import onnx

    from partswap.checkpoint import Checkpoint

__all__ = ["Exported", "ParityError", "export_onnx"]

_ROOM = 1.1
"""A file may be this much larger than its weights."""


class ParityError(PartswapError):
    """ONNX Runtime and torch differ by more than the limits; `rows` says where."""

    def __init__(self, sentence: str, rows: list[Row]) -> None:
        super().__init__(sentence)
        self.rows = rows


@dataclass(frozen=True)
class Exported:
    """A graph that was written. precision: fp32 or fp16. size, weights: bytes of the file, and of the numbers
    in it."""

    path: Path
    precision: str
    opset: int
    size: int
    weights: int
    parity: list[Row]


def export_onnx(
    checkpoint: Checkpoint,
    path: Path,
    *,
    half: bool = False,
    opset: int | None = None,
    preprocessing: bool = True,
    overwrite: bool = False,
) -> Exported:
    """Write the student to `path`, if ONNX Runtime computes from it what torch does.

    preprocessing: uint8 RGB (B, h, w, 3) in, the normalisation inside the graph; else normalised float32
    (B, 3, h, w). Either way the part map float32 (B, K+1, h, w) out. half: float16 weights; the
    arithmetic stays float32.

    Raises ParityError, UsageError (the file exists, an opset that cannot be had) or PartswapError; no file is
    left then.
    """
    refuse_existing(path, overwrite)
    with atomic_write(path, overwrite=overwrite) as temporary:  # first, so that a bad place is known at once
        import onnx

        from partswap.export.graph import student_graph

        model = student_graph(checkpoint, half=half, opset=opset, preprocessing=preprocessing)
        precision = "fp16" if half else "fp32"
        rows = compare(checkpoint, model.SerializeToString(), preprocessing)
        _judge(rows, precision)
        properties = _properties(checkpoint, precision, preprocessing, rows)
        onnx.helper.set_model_props(model, properties)
        onnx.checker.check_model(model, full_check=True)
        written = model.SerializeToString()
        weights = _bytes_of_weights(model)
        if len(written) > _ROOM * weights + (1 << 17):  # the graph itself, which weighs in tiny models only
            raise PartswapError(
                f"the graph has {len(written)} bytes for {weights} bytes of weights; that is a bug"
            )
        temporary.write_bytes(written)
    opset_written = next(each.version for each in model.opset_import if not each.domain)
    return Exported(path, precision, opset_written, len(written), weights, rows)


def _judge(rows: list[Row], precision: str) -> None:
    if within(rows, precision):
        return
    most, least = LIMITS[precision]
    difference, agreement = worst(rows)
    raise ParityError(
        f"ONNX Runtime differs from torch by {difference:.1e} in a probability (at most {most:g} is allowed) "
        f"and agrees on {agreement:.3%} of the pixels (at least {least:.1%}), so no file was written; "
        + ("export without --half" if precision == "fp16" else "please report this model"),
        rows,
    )


def _properties(
    checkpoint: Checkpoint, precision: str, preprocessing: bool, rows: list[Row]
) -> dict[str, str]:
    from partswap import __version__

    config = checkpoint.config
    preparation = {
        "inside_the_graph": preprocessing,
        "layout": "uint8 RGB (B, h, w, 3)" if preprocessing else "float32 RGB (B, 3, h, w), 0..1, normalised",
        "long_side": config.input_long_side,
        "multiple": config.multiple,
        "padding": "edge pixels repeated at the right and the bottom",
        "mean": list(config.mean),
        "std": list(config.std),
    }
    parts = [{"id": 0, "name": "background", "color": [0, 0, 0]}]
    parts += [{"id": part.id, "name": part.name, "color": list(part.color)} for part in checkpoint.parts]
    properties = {
        "partswap": __version__,
        "name": config.name,
        "revision": checkpoint.revision,
        "key": graph_key(checkpoint),
        "precision": precision,
    }
    for name, value in (
        ("parts", parts),
        ("preprocessing", preparation),
        ("parity", [asdict(row) for row in rows]),
    ):
        properties[name] = json.dumps(value, ensure_ascii=False)
    return properties


def _bytes_of_weights(model: onnx.ModelProto) -> int:
    return sum(each.ByteSize() for each in model.graph.initializer)
