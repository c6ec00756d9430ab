"""`partswap evaluate`: score a model against labelled photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partswap.cli.console import Voice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from partswap.benchmark.dataset import Classes, Entry
    from partswap.benchmark.evaluate import Photo
    from partswap.errors import PartswapError


def evaluate_command(
    images: Annotated[Path, typer.Option(help="Folder of photos.")],
    labels: Annotated[
        Path,
        typer.Option(help="Folder of label maps with the photos' names: 8-bit PNG, pixel value = class."),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Model folder or Hub id (owner/name@revision); default: the embedded one."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help='JSON with the class names, {"parts": ["background", ...], "ignore": 255}.'),
    ] = None,
    group: Annotated[str, typer.Option(help="Which list of names in --classes.")] = "parts",
    coarse: Annotated[
        bool, typer.Option("--coarse", help="Join clothing classes into coarse groups.")
    ] = False,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Text file with the names to score, one a line.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of foreground masks: adds the trivial rows cut from them.")
    ] = None,
    framing: Annotated[
        bool, typer.Option("--framing", help="Also score random zooms and crops, and report the drop.")
    ] = False,
    leak: Annotated[
        bool, typer.Option("--leak", help="Also compare label maps under changed colours and under a warp.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many photos, evenly spread.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the halves, windows and warps.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    engine: Annotated[str, typer.Option(help="What runs the model; auto picks.")] = "auto",
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file too.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no words.")] = False,
) -> None:
    """Score a model against labelled photos: part IoU, one-to-one, NMI / ARI, foreground, and two trivial
    rows.

    Labels are only read to score. Exit 0 all scored, 1 some photos could not be read (each is named).
    """
    from partswap.benchmark.dataset import find_entries
    from partswap.errors import UsageError

    entries = find_entries(images, labels, listed, masks, limit)
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists already; add --overwrite to replace it")
    report, failed = _report(
        entries,
        _classes(classes, group, coarse, entries),
        model={"model": model, "device": device, "engine": engine, "quiet": quiet},
        options={"seed": seed, "framing": framing, "leak": leak},
        quiet=quiet,
    )
    report = {"data": f"{images} with {labels}", "list": None if listed is None else str(listed), **report}
    if out is not None:
        from partswap.imaging.save import save_json

        save_json(report, out, overwrite=overwrite)
    _print(report, json_output)
    if failed:
        raise typer.Exit(1)


def _classes(path: Path | None, group: str, coarse: bool, entries: list[Entry]) -> Classes:
    """The class names, or numbers where no file names them."""
    from partswap.benchmark.dataset import Classes
    from partswap.errors import UsageError

    if path is not None:
        return Classes.read(path, group, coarse)
    if coarse:
        raise UsageError("--coarse needs the names of the classes: add --classes FILE")
    return Classes.numbered(entry.label for entry in entries)


def _report(
    entries: list[Entry], classes: Classes, model: dict[str, Any], options: dict[str, Any], quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """The report and the names of the photos that could not be read."""
    import partswap
    from partswap.benchmark.dataset import read_photos
    from partswap.benchmark.evaluate import evaluate
    from partswap.errors import UsageError

    loaded = partswap.load(**model)
    failed: list[str] = []

    def skip(entry: Entry, error: PartswapError) -> None:
        failed.append(entry.name)
        Voice(quiet).error(error)

    photos = _with_progress(read_photos(entries, classes, skip), len(entries), quiet, failed)
    first = next(photos, None)
    if first is None:
        raise UsageError(f"none of the {len(entries)} labelled photos could be read")

    def all_photos() -> Iterator[Photo]:
        yield first
        yield from photos

    report = evaluate(
        lambda rgb: loaded.segment(rgb).labels,
        all_photos(),
        classes.names,
        len(loaded.parts),
        ignore=classes.ignore,
        part_names=[part.name for part in loaded.parts] if loaded.parts.named else None,
        **options,
    )
    about = {
        **loaded.checkpoint.identity,
        "model": str(loaded.checkpoint.path),
        "engine": loaded.engine.name,
        "device": loaded.engine.device,
    }
    return {"checkpoint": about, **report, "failed": failed}, failed


def _with_progress(photos: Iterable[Photo], total: int, quiet: bool, failed: list[str]) -> Iterator[Photo]:
    """The photos, with a bar on stderr where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=total)
        for number, photo in enumerate(photos, 1):
            yield photo
            progress.update(task, completed=number + len(failed))


def _print(report: dict[str, Any], as_json: bool) -> None:
    """The report on stdout: JSON, or the table, which keeps its full width in a pipe."""
    if as_json:
        import json

        print(json.dumps(report, indent=2))
        return
    from rich.console import Console

    from partswap.benchmark.table import render

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    about = report["checkpoint"]
    console.print(
        f"{about['model']} · revision {about['revision']} · {about['engine']} on {about['device']}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(render(report))
