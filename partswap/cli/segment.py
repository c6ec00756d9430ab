"""`partswap segment`: photos in, label maps and pictures out."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partswap.cli.console import Voice
from partswap.cli.options import (
    DeviceOption,
    EngineOption,
    ModelOption,
    OverwriteOption,
    QuietOption,
    ThreadsOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from partswap.inputs import Input
    from partswap.results import Results
    from partswap.segmentation import Model

__all__ = ["segment_command"]


def segment_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...", help="Files, folders (sub-folders are kept), quoted globs, or - for stdin."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for the results; - writes the one result to stdout."
        ),
    ] = Path(),
    what: Annotated[
        str,
        typer.Option(
            "--what",
            metavar="WHAT",
            help="With commas between: labels (STEM.parts.png, pixel = part id), overlay (STEM.overlay.png), "
            "cutouts (STEM.NAME.png, RGBA, one for each named part in the photo), probabilities "
            "(STEM.probabilities.npz: float16 (n, h, w) over the whole photo at the net's resolution, "
            "with ids, names and photo_size).",
        ),
    ] = "labels,overlay",
    parts: Annotated[
        str,
        typer.Option("--parts", "-p", metavar="PARTS", help="Only these, by name or id: chest,arm or 3,7."),
    ] = "all",
    model: ModelOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    threads: ThreadsOption = None,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON line an input on stdout: size, device, model, and every part's mask."
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Find the parts in photos: label maps, overlays, cutouts.

    For example: partswap segment photos/ --out parts/ --what cutouts --parts chest,arm
    """
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.inputs import collect_inputs, refuse_clashes
    from partswap.results import Results

    voice = Voice(quiet, verbose, bar=not (json_lines and sys.stdout.isatty()))
    checkpoint = read_checkpoint(resolve_model(model, quiet))
    ids = checkpoint.parts.parse(parts)
    results = Results.wanted(what, checkpoint.parts, ids)
    photos = collect_inputs(inputs, made=results.endings())
    to_stdout = str(out) == "-"
    if to_stdout:
        _refuse_many(photos, results, json_lines)
    else:
        refuse_clashes(
            photos, (path for each in photos for path in results.paths(out / each.stem)), overwrite
        )

    from partswap.engine import open_engine
    from partswap.segmentation import Model

    loaded = Model(checkpoint, open_engine(checkpoint, engine, device, threads, voice.say))
    voice.say("{model} {revision} on {device} ({engine})".format(**loaded.source))
    with tempfile.TemporaryDirectory() if to_stdout else nullcontext(out) as folder:
        failed = _run(_Job(loaded, ids, results, Path(folder), overwrite), photos, voice, json_lines)
        if to_stdout and not failed:
            _copy_to_stdout(Path(folder))
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Job:
    model: Model
    ids: tuple[int, ...]
    results: Results
    folder: Path
    overwrite: bool

    def do(self, photo: Input, with_record: bool) -> dict[str, Any]:
        """Segment one photo and write its results; nothing of it is kept."""
        found = self.model.segment(photo.read()).only(self.ids)
        written = self.results.write(found, self.folder / photo.stem, self.overwrite)
        return {"input": photo.name, **found.record(), "outputs": written} if with_record else {}


def _run(job: _Job, photos: list[Input], voice: Voice, json_lines: bool) -> int:
    """All photos, one after another; returns how many could not be read."""
    from partswap.errors import ImageError

    failed = 0
    start = time.monotonic()
    for photo in voice.track(photos, "segmenting"):
        began = time.monotonic()
        try:
            line = job.do(photo, json_lines)
        except ImageError as error:
            failed += 1
            sentence = str(error).replace("<bytes>", "standard input")
            voice.error(sentence)
            line = {"input": photo.name, "error": sentence}
        else:
            voice.detail(f"{photo.name}: {time.monotonic() - began:.2f} s")
        if json_lines:
            print(json.dumps(line, ensure_ascii=False), flush=True)
    seconds = time.monotonic() - start
    done = len(photos) - failed
    tail = f"; {failed} could not be read" if failed else ""
    voice.say(
        f"{done} of {len(photos)} photos in {seconds:.1f} s ({done / max(seconds, 1e-6):.1f} images/s){tail}"
    )
    return failed


def _refuse_many(photos: list[Input], results: Results, json_lines: bool) -> None:
    from partswap.errors import UsageError

    if len(photos) != 1 or len(results.endings()) != 1 or json_lines:
        raise UsageError(
            "--out - writes a single file to stdout, so it needs one photo, one --what "
            "(for cutouts also one named part, --parts chest), and no --json"
        )


def _copy_to_stdout(folder: Path) -> None:
    from partswap.errors import PartswapError

    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise PartswapError("the part is not in the photo, so there is nothing to write")
    with files[0].open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
