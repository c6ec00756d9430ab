"""Options that several commands share, so that they look and read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DeviceOption",
    "EngineOption",
    "JsonOption",
    "ModelOption",
    "OutOption",
    "OverwriteOption",
    "QuietOption",
    "ThreadsOption",
]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A folder, an embedded name, or a hub id OWNER/NAME@REVISION. Default: the embedded model.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:1, tensorrt, mps; never another in silence.",
    ),
]
EngineOption = Annotated[
    str, typer.Option("--engine", metavar="ENGINE", help="What runs the model: auto, onnx or torch.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=1024,
        help="Threads of the work on the CPU. Default: the cores that this process may use.",
        show_default=False,
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only errors on stderr: no words, no progress.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="A line on stderr for every photo.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")]
