"""`partswap segment`: photos in, label maps and pictures out."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partswap.cli.console import Voice
from partswap.cli.interrupt import interruptible
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
    from concurrent.futures import Future

    from partswap.inputs import Input
    from partswap.results import Results
    from partswap.segmentation import Model, Segmentation

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
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Go on with an earlier run: leave out photos whose results are all there, write only files "
            "that are not.",
        ),
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Find the parts in photos: label maps, overlays, cutouts.

    For example: partswap segment photos/ --out parts/ --what cutouts --parts chest,arm
    """
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.errors import UsageError
    from partswap.inputs import collect_inputs, refuse_clashes
    from partswap.results import Results

    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing want opposite things; give one of them")
    voice = Voice(quiet, verbose, bar=not (json_lines and sys.stdout.isatty()))
    checkpoint = read_checkpoint(resolve_model(model))
    ids = checkpoint.parts.parse(parts)
    results = Results.wanted(what, checkpoint.parts, ids)
    photos = collect_inputs(inputs, made=results.endings())
    to_stdout = str(out) == "-"
    if to_stdout:
        _refuse_many(photos, results, json_lines)
    else:
        refuse_clashes(
            photos,
            (path for each in photos for path in results.paths(out / each.stem)),
            overwrite or skip_existing,
        )

    from partswap.engine import open_engine
    from partswap.segmentation import Model

    loaded = Model(checkpoint, open_engine(checkpoint, engine, device, threads, voice.say))
    voice.say("{model} {revision} on {device} ({engine})".format(**loaded.source))
    with tempfile.TemporaryDirectory() if to_stdout else nullcontext(out) as folder:
        job = _Job(loaded, ids, results, Path(folder), overwrite, skip_existing, json_lines)
        failed = _run(job, photos, voice, threads)
        if to_stdout and not failed:
            _copy_to_stdout(Path(folder))
    if failed:
        raise typer.Exit(1)


@dataclass
class _Job:
    """What is done with every photo, in several threads at once. done: photos whose files are all written."""

    model: Model
    ids: tuple[int, ...]
    results: Results
    folder: Path
    overwrite: bool
    skip_existing: bool
    with_record: bool
    done: int = 0
    _lock: Lock = field(default_factory=Lock)

    def write(self, photo: Input, found: Segmentation) -> dict[str, Any]:
        """Write one photo's results; nothing of it is kept but the line for `--json`."""
        base = self.folder / photo.stem
        found = found.only(self.ids)
        results = self.results.left(base, found.parts) if self.skip_existing else self.results
        written = results.write(found, base, self.overwrite) if results else {}
        line = {"input": photo.name, **found.record(), "outputs": written} if self.with_record else {}
        with self._lock:
            self.done += 1
        return line

    def is_there(self, photo: Input) -> bool:
        """Whether an earlier run has written all of this photo's results."""
        return self.skip_existing and self.results.left(self.folder / photo.stem, self.model.parts) is None


def _run(job: _Job, photos: list[Input], voice: Voice, threads: int | None) -> int:
    """All photos; returns how many could not be read."""
    from partswap.errors import ImageError

    there = [job.is_there(photo) for photo in photos]
    todo = len(photos) - sum(there)
    failed = 0
    start = time.monotonic()
    with (
        interruptible(lambda: _how_far(job, todo)),
        closing(_outcomes(job, photos, there, voice, threads)) as outcomes,
    ):
        for photo, outcome in outcomes:
            try:
                line = {"input": photo.name, "skipped": True} if outcome is None else outcome.result()
            except ImageError as error:
                failed += 1
                sentence = str(error).replace("<bytes>", "standard input")
                voice.error(sentence)
                line = {"input": photo.name, "error": sentence}
            else:
                voice.detail(f"{photo.name}: {'there already' if outcome is None else 'done'}")
            if job.with_record:
                print(json.dumps(line, ensure_ascii=False), flush=True)
    _sum_up(job, len(photos), sum(there), failed, time.monotonic() - start, voice)
    return failed


def _outcomes(
    job: _Job, photos: list[Input], there: list[bool], voice: Voice, threads: int | None
) -> Generator[tuple[Input, Future[dict[str, Any]] | None], None, None]:
    """Each photo with its finished line; None for those that are there already."""
    from partswap.imaging.opencv import opencv
    from partswap.pipeline import segmented

    todo = [photo for photo, skipped in zip(photos, there, strict=True) if not skipped]
    if len(todo) > 1:
        opencv().setNumThreads(1)  # the photos themselves keep the cores busy
    with closing(segmented(job.model, todo, lambda photo: photo.read(), job.write, threads)) as run:
        tracked = voice.track(run, "segmenting", total=len(todo))
        for photo, skipped in zip(photos, there, strict=True):
            yield photo, None if skipped else next(tracked)[1]
        next(tracked, None)  # the bar ends


def _how_far(job: _Job, count: int) -> str:
    tail = "; --skip-existing does the rest" if job.done < count else ""
    return f"{job.done} of {count} photos are done, every file is whole{tail}"


def _sum_up(job: _Job, count: int, there: int, failed: int, seconds: float, voice: Voice) -> None:
    rate = job.done / max(seconds, 1e-6)
    tail = f"; {there} were there already" if there else ""
    tail += f"; {failed} could not be read" if failed else ""
    voice.say(f"{job.done} of {count} photos in {seconds:.1f} s ({rate:.1f} images/s){tail}")


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
