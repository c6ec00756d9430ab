"""A checkpoint's nets as ONNX files that were checked against torch before they got their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from partswap.engine.batch import RENDER_MULTIPLE
from partswap.engine.graphs import graph_key
from partswap.errors import PartswapError
from partswap.export.parity import LIMITS, Comparison, Row, within, worst
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
    """A graph that was written. which: student or renderer. precision: fp32 or fp16, of its arithmetic. size,
    weights: bytes of the file, and of the numbers in it."""

    which: str
    path: Path
    precision: str
    opset: int
    size: int
    weights: int
    parity: list[Row]


def export_onnx(
    checkpoint: Checkpoint,
    paths: Mapping[str, Path],
    *,
    half: bool = False,
    opset: int | None = None,
    preprocessing: bool = True,
    overwrite: bool = False,
) -> list[Exported]:
    """Write nets of a checkpoint, if ONNX Runtime computes from them what torch does: all of them, or none.

    paths: `student`, `renderer` -> the file to write. half: float16 arithmetic where the limits allow it, for
    cards. preprocessing: pixels in (and out), or what is normalised; see `partswap.nets.pipelines`.

    Raises ParityError, UsageError (a file exists, an opset that cannot be had, a checkpoint without renderer)
    or PartswapError; no file is left then.
    """
    for path in paths.values():
        refuse_existing(path, overwrite)
    done = []
    with ExitStack() as stack:  # all are named when all are written
        for which, path in paths.items():
            # entered first, so that a bad place is known at once
            temporary = stack.enter_context(atomic_write(path, overwrite=overwrite))
            model, rows = _checked(checkpoint, which, half, opset, preprocessing)
            written = model.SerializeToString()
            weights = sum(each.ByteSize() for each in model.graph.initializer)
            _refuse_bloat(len(written), weights)
            temporary.write_bytes(written)
            found = next(each.version for each in model.opset_import if not each.domain)
            precision = "fp16" if half else "fp32"
            done.append(Exported(which, path, precision, found, len(written), weights, rows))
    return done


def _checked(
    checkpoint: Checkpoint, which: str, half: bool, opset: int | None, preprocessing: bool
) -> tuple[onnx.ModelProto, list[Row]]:
    """The graph with its metadata, and the comparison that it passed."""
    import onnx

    from partswap.export.graph import make_graph
    from partswap.export.half import halved

    comparison = Comparison(checkpoint, which, preprocessing)
    model = make_graph(checkpoint, which, opset=opset, preprocessing=preprocessing, compact=not half)
    precision = "fp16" if half else "fp32"
    if half:
        model, rows = halved(model, comparison)
    else:
        rows = comparison.rows(model.SerializeToString())
    _judge(rows, precision)
    onnx.helper.set_model_props(model, _properties(checkpoint, which, precision, preprocessing, rows))
    onnx.checker.check_model(model, full_check=True)
    return model, rows


def _judge(rows: list[Row], precision: str) -> None:
    if within(rows, precision):
        return
    most, least = LIMITS[precision]
    difference, agreement = worst(rows)
    raise ParityError(
        f"ONNX Runtime differs from torch by {difference:.1e} (at most {most:g} is allowed) "
        f"and agrees on {agreement:.3%} of the pixels (at least {least:.1%}), so no file was written; "
        + ("export without --half" if precision == "fp16" else "please report this model"),
        rows,
    )


def _refuse_bloat(size: int, weights: int) -> None:
    if size > _ROOM * weights + (1 << 17):  # the graph itself, which weighs in tiny models only
        raise PartswapError(f"the graph has {size} bytes for {weights} bytes of weights; that is a bug")


def _properties(
    checkpoint: Checkpoint, which: str, precision: str, preprocessing: bool, rows: list[Row]
) -> dict[str, str]:
    from partswap import __version__

    config = checkpoint.config
    student = which == "student"
    preparation = {
        "inside_the_graph": preprocessing,
        "layout": "uint8 RGB (B, h, w, 3)" if preprocessing else "float32 RGB (B, 3, h, w), 0..1, normalised",
        "long_side": config.input_long_side if student else max(config.size),
        "multiple": config.multiple if student else RENDER_MULTIPLE,
        "padding": "edge pixels repeated at the right and the bottom",
        "mean": list(config.mean),
        "std": list(config.std),
    }
    parts = [{"id": 0, "name": "background", "color": [0, 0, 0]}]
    parts += [{"id": part.id, "name": part.name, "color": list(part.color)} for part in checkpoint.parts]
    properties = {
        "partswap": __version__,
        "name": config.name,
        "net": which,
        "revision": checkpoint.revision,
        "key": graph_key(checkpoint, which),
        "precision": precision,
    }
    for name, value in (
        ("parts", parts),
        ("preprocessing", preparation),
        ("parity", [asdict(row) for row in rows]),
    ):
        properties[name] = json.dumps(value, ensure_ascii=False)
    return properties
