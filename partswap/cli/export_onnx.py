"""`partswap export-onnx`: the student, and the renderer, as files that run without partswap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partswap.cli.options import JsonOption, ModelOption, OverwriteOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from partswap.export import Exported
    from partswap.export.parity import Row

__all__ = ["export_onnx_command"]


def export_onnx_command(
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to: NAME.onnx by default. The renderer goes beside it, as STEM.renderer.onnx "
            "(beside model.onnx, as in a model's folder: renderer.onnx).",
            show_default=False,
        ),
    ] = None,
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            help="float16 arithmetic for cards, in as many layers as the limits allow "
            "(kernels are stored as float16 in any case).",
        ),
    ] = False,
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

    Two files: the student (image -> parts, the part map) and, if the model has one, the renderer of transfer
    (image, source_map, target_map, look -> picture). Batch and sides are free. Part names, colours,
    preprocessing, revision and the comparison are in each file's metadata.
    """
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.export.onnx import ParityError, export_onnx

    checkpoint = read_checkpoint(resolve_model(model))
    path = Path(f"{checkpoint.config.name}.onnx") if out is None else out
    paths = {"student": path}
    if checkpoint.config.renderer is not None:
        paths["renderer"] = _beside(path)
    try:
        done = export_onnx(
            checkpoint, paths, half=half, opset=opset, preprocessing=preprocessing, overwrite=overwrite
        )
    except ParityError as error:
        _print_table(error.rows, to_stderr=True)
        raise
    if as_json:
        print(json.dumps([_record(each) for each in done], indent=2))
        return
    for each in done:
        print(f"{each.path}: {each.which}, {each.precision}, opset {each.opset}, {each.size / 2**20:.1f} MiB")
        _print_table(each.parity)


def _beside(path: Path) -> Path:
    return path.with_name("renderer.onnx" if path.name == "model.onnx" else f"{path.stem}.renderer.onnx")


def _record(done: Exported) -> dict[str, Any]:
    return {
        "net": done.which,
        "file": str(done.path),
        "precision": done.precision,
        "opset": done.opset,
        "bytes": done.size,
        "weights_bytes": done.weights,
        "parity": [vars(row) for row in done.parity],
    }


def _print_table(rows: Sequence[Row], to_stderr: bool = False) -> None:
    typer.echo(f"{'batch':>5}  {'size':>9}  {'largest difference':>18}  {'agreement':>9}", err=to_stderr)
    for row in rows:
        size = f"{row.width}x{row.height}"
        line = f"{row.batch:>5}  {size:>9}  {row.difference:>18.1e}  {row.agreement:>9.3%}"
        typer.echo(line, err=to_stderr)
