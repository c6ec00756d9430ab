"""`partswap segment`: photos in, label maps and pictures out."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
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
            metavar="INPUTS...",
            help="Photos, clips (.mp4, .mov, ...), folders of photos (sub-folders are kept), quoted globs, "
            "or - for a photo on stdin.",
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
            "with ids, names and photo_size). Of a clip: labels (STEM.parts.mkv, lossless, grey) and overlay "
            "(STEM.overlay.mp4), steadied over time, without sound.",
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
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Let the net look at each photo once, neither turned nor at small parts from near: for "
            "large folders, about 1.3 times as fast. Clips are always so.",
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
    """Find the parts in photos and clips: label maps, overlays, cutouts.

    For example: partswap segment photos/ --out parts/ --what cutouts --parts chest,arm
    """
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.errors import UsageError
    from partswap.inputs import collect_inputs, refuse_clashes
    from partswap.results import Results

    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing want opposite things; give one of them")
    voice = Voice(quiet, verbose, bar=not (json_lines and sys.stdout.isatty()))
    checkpoint = read_checkpoint(resolve_model(model, quiet))
    ids = checkpoint.parts.parse(parts)
    results = Results.wanted(what, checkpoint.parts, ids)
    photos = collect_inputs(inputs, made=Results.all_endings(checkpoint.parts))
    to_stdout = str(out) == "-"
    if to_stdout:
        _refuse_many(photos, results, json_lines)
    else:
        refuse_clashes(
            photos,
            (path for each in photos for path in _paths(results, each, out)),
            overwrite or skip_existing,
        )

    from partswap.engine import open_engine
    from partswap.segmentation import Model

    loaded = Model(checkpoint, open_engine(checkpoint, engine, device, threads, voice.say), quick=quick)
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

    def write_clip(self, each: Input, voice: Voice, threads: int | None) -> dict[str, Any]:
        """Segment a clip and write its results; returns the line for `--json`."""
        from partswap.clip import segment_clip
        from partswap.video import open_clip

        assert each.path is not None
        start = time.monotonic()
        clip = open_clip(each.path)
        paths = self.results.clip_paths(self.folder / each.stem)
        if self.skip_existing:
            paths = {kind: path for kind, path in paths.items() if not path.exists()}
        watch = partial(voice.track, title=each.name, unit="frames", total=clip.count or None)
        record = segment_clip(self.model, clip, self.ids, paths, self.overwrite, threads, watch)
        seconds = time.monotonic() - start
        voice.say(
            f"{each.name}: {record['frames']} frames in {seconds:.1f} s "
            f"({record['frames'] / seconds:.1f} frames/s); sound is not kept"
        )
        self.done += 1
        return {"input": each.name, **record, "outputs": {kind: str(path) for kind, path in paths.items()}}

    def is_there(self, each: Input) -> bool:
        """Whether an earlier run has written all results of this photo or clip."""
        if not self.skip_existing:
            return False
        base = self.folder / each.stem
        if each.is_clip:
            return all(path.exists() for path in self.results.clip_paths(base).values())
        return self.results.left(base, self.model.parts) is None


def _paths(results: Results, each: Input, folder: Path) -> Iterable[Path]:
    """The files that may be written for one input."""
    base = folder / each.stem
    return results.clip_paths(base).values() if each.is_clip else results.paths(base)


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
    _sum_up(job, photos, sum(there), failed, time.monotonic() - start, voice)
    return failed


def _outcomes(
    job: _Job, inputs: list[Input], there: list[bool], voice: Voice, threads: int | None
) -> Generator[tuple[Input, Future[dict[str, Any]] | None], None, None]:
    """Each input with its finished line; None for those that are there already."""
    from partswap.imaging.opencv import opencv

    if len(inputs) > 1 or inputs[0].is_clip:
        opencv().setNumThreads(1)  # photos, or frames, side by side keep the cores busy
    for are_clips, some in groupby(zip(inputs, there, strict=True), key=lambda pair: pair[0].is_clip):
        group = list(some)
        if are_clips:
            for each, skipped in group:
                yield each, None if skipped else _attempt(partial(job.write_clip, each, voice, threads))
        else:
            yield from _photos(job, group, voice, threads)


def _photos(
    job: _Job, group: list[tuple[Input, bool]], voice: Voice, threads: int | None
) -> Generator[tuple[Input, Future[dict[str, Any]] | None], None, None]:
    from partswap.pipeline import segmented

    todo = [each for each, skipped in group if not skipped]
    with closing(segmented(job.model, todo, lambda photo: photo.read(), job.write, threads)) as run:
        tracked = voice.track(run, "segmenting", total=len(todo))
        for each, skipped in group:
            yield each, None if skipped else next(tracked)[1]
        next(tracked, None)  # the bar ends


def _attempt(work: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
    from concurrent.futures import Future

    from partswap.errors import ImageError

    outcome: Future[dict[str, Any]] = Future()
    try:
        outcome.set_result(work())
    except ImageError as error:
        outcome.set_exception(error)
    return outcome


def _how_far(job: _Job, count: int) -> str:
    tail = "; --skip-existing does the rest" if job.done < count else ""
    return f"{job.done} of {count} photos are done, every file is whole{tail}"


def _sum_up(job: _Job, inputs: list[Input], there: int, failed: int, seconds: float, voice: Voice) -> None:
    clips = any(each.is_clip for each in inputs)
    words = f"{job.done} of {len(inputs)} {'inputs' if clips else 'photos'} in {seconds:.1f} s"
    words += "" if clips else f" ({job.done / max(seconds, 1e-6):.1f} images/s)"
    words += f"; {there} were there already" if there else ""
    voice.say(words + (f"; {failed} could not be read" if failed else ""))


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
