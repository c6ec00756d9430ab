"""`partswap export-onnx`: the student as one file that runs without partswap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partswap.cli.options import JsonOption, ModelOption, OverwriteOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from partswap.export.parity import Row

__all__ = ["export_onnx_command"]


def export_onnx_command(
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where to. Default: NAME.onnx.", show_default=False),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="float16 weights: half the size.")] = False,
    opset: Annotated[
        int | None,
        typer.Option("--opset", metavar="N", help="ONNX opset. Default: torch's own.", show_default=False),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing/--bare",
            help="Take uint8 RGB (B, h, w, 3) and normalise it in the graph, or take what is normalised "
            "already, float32 (B, 3, h, w).",
        ),
    ] = True,
    as_json: JsonOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the model as ONNX, compared with torch on 3 sizes and batches 1, 2, 5; no file where they differ.

    Output `parts`: probabilities float32 (B, K+1, h, w), channel 0 background; batch and sides are free. Part
    names, colours, preprocessing, revision and the comparison are in the file's metadata.
    """
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.export.onnx import ParityError, export_onnx

    checkpoint = read_checkpoint(resolve_model(model))
    path = Path(f"{checkpoint.config.name}.onnx") if out is None else out
    try:
        done = export_onnx(
            checkpoint, path, half=half, opset=opset, preprocessing=preprocessing, overwrite=overwrite
        )
    except ParityError as error:
        _print_table(error.rows, to_stderr=True)
        raise
    if as_json:
        record = {
            "file": str(done.path),
            "precision": done.precision,
            "opset": done.opset,
            "bytes": done.size,
            "weights_bytes": done.weights,
            "parity": [vars(row) for row in done.parity],
        }
        print(json.dumps(record, indent=2))
        return
    _print_table(done.parity)
    print(f"{done.path}: {done.precision}, opset {done.opset}, {done.size / 2**20:.1f} MiB")


def _print_table(rows: Sequence[Row], to_stderr: bool = False) -> None:
    typer.echo(f"{'batch':>5}  {'size':>9}  {'largest difference':>18}  {'same part':>9}", err=to_stderr)
    for row in rows:
        size = f"{row.width}x{row.height}"
        line = f"{row.batch:>5}  {size:>9}  {row.difference:>18.1e}  {row.agreement:>9.3%}"
        typer.echo(line, err=to_stderr)
