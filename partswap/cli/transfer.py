"""`partswap transfer`: the look of chosen parts from source photos to target photos."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
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
    from partswap.inputs import Input
    from partswap.segmentation import Model, Segmentation
    from partswap.transfer import Options

__all__ = ["transfer_command"]

_KEPT = 4  # segmentations that stay in memory while folders are paired


def transfer_command(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Gives the look: a photo, a folder, a glob, or - for stdin.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TGT", help="Keeps its shape and everything else: as SRC, or a clip.")
    ],
    parts: Annotated[
        str | None,
        typer.Option(
            "--parts", "-p", metavar="PARTS", help="By name or id: chest,arm; all: all but head and neck."
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="PARTS", help="The target's parts, if others: as many as --parts, or one."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="The file to write (.png, .jpg, .webp, .tif), a folder, or - for stdout. "
            "Default: TGTSTEM.swap.png here; for several sources TGTSTEM.SRCSTEM.swap.png; "
            "of a clip .swap.mp4, without sound.",
            show_default=False,
        ),
    ] = Path(),
    grid: Annotated[
        bool,
        typer.Option(
            "--grid",
            help="Write a figure instead (TGTSTEM.grid.png): source, target, then ever more parts "
            "(--parts says which; else chest, chest+arm, chest+arm+hip+leg).",
        ),
    ] = False,
    strength: Annotated[float, typer.Option(min=0, max=1, help="0 changes nothing, 1 all.")] = 1.0,
    border: Annotated[
        float,
        typer.Option(min=0, max=4, help="Pixels at 800 px height that may change around the parts; 0: none."),
    ] = 3.0,
    person: Annotated[
        int, typer.Option(min=1, help="Which person of TGT: 1 the main one, 2 the next, ...")
    ] = 1,
    source_person: Annotated[int, typer.Option(min=1, help="Which person of SRC.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the grain on filled areas.")] = 0,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    threads: ThreadsOption = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON line a pair on stdout: parts, areas, origins, seconds.")
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Carry the look of chosen parts from photo to photo; every other pixel stays as it was.

    For example: partswap transfer --parts chest,arm jacket.jpg me.jpg -o new.png
    """
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.errors import UsageError
    from partswap.inputs import refuse_clashes
    from partswap.transfer import Options

    if parts is None and not grid:
        raise UsageError("say which parts with --parts, for example --parts chest,arm, or ask for --grid")
    if to is not None and grid:
        raise UsageError("--grid shows parts where they belong; leave --to out")
    voice = Voice(quiet, verbose, bar=not (json_lines and sys.stdout.isatty()))
    options = Options(strength, border, seed)
    work = _paired(source, target, out, "grid" if grid else "swap")
    refuse_clashes(work.inputs, [p.out for p in work.pairs if p.out is not None], overwrite)
    if work.pairs[0].out is None and json_lines:
        raise UsageError("--out - and --json would both write to stdout; choose one")
    checkpoint = read_checkpoint(resolve_model(model, quiet))
    _check_names(checkpoint.parts, parts, to)

    from partswap.engine import open_engine
    from partswap.segmentation import Model

    loaded = Model(checkpoint, open_engine(checkpoint, engine, device, threads, voice.say)).for_transfer()
    voice.say("{model} {revision} on {device} ({engine})".format(**loaded.source))
    job = _Job(loaded, parts, to, grid, options, person, source_person, quality, overwrite)
    if _run(job, work, voice, json_lines):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Pairing:
    """One pair: indices into the inputs, and the file to write; None is stdout."""

    source: int
    target: int
    out: Path | None


@dataclass(frozen=True)
class _Work:
    inputs: list[Input]
    pairs: list[_Pairing]


@dataclass(frozen=True)
class _Job:
    model: Model
    parts: str | None
    to: str | None
    grid: bool
    options: Options
    person: int
    source_person: int
    quality: int
    overwrite: bool

    def do(self, source: Segmentation, target: Segmentation, out: Path | None) -> dict[str, Any]:
        """One pair: write its picture, return its record."""
        from partswap.transfer import Pair

        pair = Pair(source, target, self.model.engine, self.person, self.source_person)
        if self.grid:
            from partswap.transfer.figure import figure

            names = None if self.parts is None else [w.strip() for w in self.parts.split(",") if w.strip()]
            picture, steps = figure(pair, self.options, names)
            _write(out, lambda path: _save(picture, path, self.quality, self.overwrite))
            return {**steps[-1].record, "steps": [[p["name"] for p in s.record["parts"]] for s in steps]}
        done = pair.transfer(self.parts or "all", self.to, self.options)
        _write(out, lambda path: done.save(path, quality=self.quality, overwrite=self.overwrite))
        return done.record

    def do_clip(self, source: Segmentation, target: Input, out: Path | None, voice: Voice) -> dict[str, Any]:
        """A photo and a clip: write the changed clip, return its record."""
        from partswap.imaging.opencv import opencv
        from partswap.transfer.clip import ClipTransfer
        from partswap.video import open_clip

        assert target.path is not None
        clip = open_clip(target.path)
        opencv().setNumThreads(1)  # frames side by side keep the cores busy
        watch = functools.partial(voice.track, title=target.name, unit="frames", total=clip.count or None)
        work = ClipTransfer(
            self.model, source, self.parts or "all", self.to, self.options, self.person, self.source_person
        )
        record: dict[str, Any] = {}
        _write(out, lambda path: record.update(work.write(clip, path, self.overwrite, watch)), ".mp4")
        return {**record, "notes": ["sound is not kept"]}


def _save(picture: Any, path: Path, quality: int, overwrite: bool) -> None:
    from partswap.imaging.save import save_image

    save_image(picture, path, quality=quality, overwrite=overwrite)


def _write(out: Path | None, save: Callable[[Path], None], ending: str = ".png") -> None:
    if out is not None:
        save(out)
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"swap{ending}"
        save(path)
        sys.stdout.buffer.write(path.read_bytes())
        sys.stdout.buffer.flush()


def _check_names(parts: Any, names: str | None, to: str | None) -> None:
    """Unknown names are an error before any photo is opened."""
    from partswap.transfer.plan import wishes

    wishes(parts, names or "all", to)


def _paired(source: str, target: str, out: Path, kind: str) -> _Work:
    """Every source with every target, and where the results go."""
    from partswap.errors import UsageError
    from partswap.inputs import collect_inputs

    if source == target == "-":
        raise UsageError("SRC and TGT cannot both be standard input")
    made = {".swap.png", ".grid.png", ".swap.mp4"}
    sources, targets = collect_inputs([source], made), collect_inputs([target], made)
    if any(each.is_clip for each in sources):
        raise UsageError("SRC must be a photo: only TGT can be a clip")
    if kind == "grid" and any(each.is_clip for each in targets):
        raise UsageError("--grid shows photos; leave it out for a clip")
    single = len(sources) == len(targets) == 1
    count = len(sources)
    pairs = [
        _Pairing(s, count + t, _output(out, single, sources[s] if count > 1 else None, targets[t], kind))
        for t in range(len(targets))
        for s in range(count)
    ]
    return _Work([*sources, *targets], pairs)


def _output(out: Path, single: bool, source: Input | None, target: Input, kind: str) -> Path | None:
    from partswap.errors import UsageError

    if str(out) == "-":
        if not single:
            raise UsageError("--out - writes one picture; give one source and one target")
        return None
    if single and out.suffix and not out.is_dir():
        if target.is_clip and out.suffix.lower() != ".mp4":
            raise UsageError(f"{out}: clips are written as .mp4; choose another name")
        return out
    if not single and out.suffix and not out.is_dir():
        raise UsageError(f"{out} looks like one file, but there are several pairs; give --out a folder")
    ending = "mp4" if target.is_clip else "png"
    tail = "" if source is None else "." + "-".join(source.stem.parts)
    return out / target.stem.with_name(f"{target.stem.name}{tail}.{kind}.{ending}")


def _run(job: _Job, work: _Work, voice: Voice, json_lines: bool) -> int:
    """All pairs, target by target; returns how many failed."""
    from partswap.errors import ModelError, PartswapError, UsageError

    @functools.lru_cache(maxsize=_KEPT)
    def segmented(index: int) -> Segmentation:
        return job.model.segment(work.inputs[index].read())

    failed = done = 0
    with interruptible(lambda: f"{done} of {len(work.pairs)} pairs are done, every file is whole"):
        for pairing, names in _tracked(work, voice):
            began = time.monotonic()
            target = work.inputs[pairing.target]
            try:
                if target.is_clip:
                    record = job.do_clip(segmented(pairing.source), target, pairing.out, voice)
                else:
                    record = job.do(segmented(pairing.source), segmented(pairing.target), pairing.out)
            except (UsageError, ModelError):  # not this pair's fault alone
                raise
            except PartswapError as error:
                failed += 1
                sentence = str(error).replace("<bytes>", "standard input")
                voice.error(sentence)
                record = {**names, "error": sentence}
            else:
                record = {**record, **names, "output": None if pairing.out is None else str(pairing.out)}
                done += 1
                for note in record["notes"]:
                    voice.say(f"note: {note}".replace("<bytes>", "standard input"))
                voice.detail(f"{names['target']}: {time.monotonic() - began:.2f} s")
            if json_lines:
                print(json.dumps(record, ensure_ascii=False), flush=True)
    return failed


def _tracked(work: _Work, voice: Voice) -> Iterator[tuple[_Pairing, dict[str, str]]]:
    # a clip has a bar of its own
    clips = any(work.inputs[pairing.target].is_clip for pairing in work.pairs)
    for pairing in work.pairs if clips else voice.track(work.pairs, "transferring", "pairs"):
        yield (
            pairing,
            {"source": work.inputs[pairing.source].name, "target": work.inputs[pairing.target].name},
        )
