"""`partswap parts`: look at a model's parts, name them, and see what they are from near."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partswap.cli.console import Voice
from partswap.cli.options import DeviceOption, EngineOption, ModelOption, OverwriteOption, QuietOption

if TYPE_CHECKING:
    from partswap.inputs import Input
    from partswap.naming import Proposal
    from partswap.parts import Parts
    from partswap.segmentation import Model, Segmentation

__all__ = ["parts_app"]

parts_app = typer.Typer()


@parts_app.command("show")
def show_command(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, quoted globs, or - for stdin.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The sheet to write.")] = Path(
        "parts.png"
    ),
    model: ModelOption = None,
    count: Annotated[
        int,
        typer.Option(
            "--count", min=1, max=50, help="At most so many photos, spread evenly over those given."
        ),
    ] = 6,
    cell: Annotated[
        int, typer.Option("--cell", min=32, max=1024, help="Height of a picture, in pixels.")
    ] = 200,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a sheet: every part lit up on several photos under its id and name, so that a person can name
    it."""
    from partswap.errors import UsageError
    from partswap.imaging.save import refuse_existing, save_image
    from partswap.inputs import collect_inputs
    from partswap.naming import parts_sheet
    from partswap.results import Results
    from partswap.segmentation import load

    refuse_existing(out, overwrite)
    loaded = load(model, device, engine, quiet)
    photos = collect_inputs(images, made=Results.all_endings(loaded.parts))
    chosen = [photos[i * len(photos) // min(count, len(photos))] for i in range(min(count, len(photos)))]
    voice = Voice(quiet)
    failed: list[Input] = []
    found = _segmented(loaded, chosen, voice, failed)
    first = next(found, None)
    if first is None:
        raise UsageError("none of the photos could be read, so there is nothing to show")

    def all_found() -> Iterator[Segmentation]:
        yield first
        yield from found

    save_image(parts_sheet(all_found(), loaded.parts, cell), out, overwrite=overwrite)
    voice.say(f"{out}: {len(chosen) - len(failed)} photos, {len(loaded.parts)} parts")
    if failed:
        raise typer.Exit(1)


@parts_app.command("near")
def near_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder tree of photos, as for `train`.")],
    parts: Annotated[
        str, typer.Option("--parts", "-p", metavar="PARTS", help="Which parts, by name or id: head,neck.")
    ],
    into: Annotated[int, typer.Option("--into", min=2, max=32, help="How many groups to find.")] = 10,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="STEM", help="STEM.safetensors and STEM.png are written.")
    ] = Path("near"),
    model: ModelOption = None,
    size: Annotated[
        str, typer.Option("--size", metavar="HxW", help="The frame that photos are fitted into.")
    ] = "320x224",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Seed of the clusters.")] = 0,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:1.")
    ] = "auto",
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Group parts once more, in what the model sees of them from near: chin and collar of one part come
    apart.

    Look at STEM.png and say what each number is: `partswap train DATA --refine MODEL --near
    STEM.safetensors:1+2=head,3=neck` draws the parts anew.
    """
    import torch

    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.distillation.near_file import write_clusters
    from partswap.errors import UsageError
    from partswap.imaging.save import refuse_existing, save_image
    from partswap.training.data import load_photos
    from partswap.training.near import find_from_near
    from partswap.training.options import check_size, parse_size, training_device

    if not out.name:
        raise UsageError(f"--out {out} is a folder; give the beginning of two files' names, such as near")
    frame = parse_size(size)
    check_size("--size", frame)
    found_file, picture_file = (out.with_name(f"{out.name}{end}") for end in (".safetensors", ".png"))
    for file in (found_file, picture_file):
        refuse_existing(file, overwrite)
    checkpoint = read_checkpoint(resolve_model(model, quiet))
    of = checkpoint.parts.parse(parts)
    voice = Voice(quiet)
    photos = load_photos(data, frame).to(torch.device(training_device(device)))
    for name, reason in photos.skipped:
        voice.error(f"{name}: {reason}")
    voice.say(f"looking at some of {len(photos)} photos from near; minutes on a CPU")
    found, picture = find_from_near(checkpoint, photos, of, into, seed)
    write_clusters(found_file, found)
    save_image(picture, picture_file, overwrite=overwrite)
    voice.say(f"{found_file}: {into} groups of {len(photos)} photos; see {picture_file} for what each is")
    if photos.skipped:
        raise typer.Exit(1)


@parts_app.command("name")
def name_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ID=NAME...", help="3=chest 4=chest 7=arm")
    ] = None,
    model: ModelOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="DIR",
            help="Propose names from label maps (PNG, pixel = class). Needs --images and --classes.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="The photos of --labels, under the same names."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", metavar="FILE", help='Names of the classes: {"parts": ["background", ...]}.'
        ),
    ] = None,
    group: Annotated[str, typer.Option("--group", help="Which list of names in --classes.")] = "parts",
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Look at no more than so many labelled photos.")
    ] = 100,
    apply: Annotated[
        bool, typer.Option("--apply", help="Also give the parts the names that are proposed.")
    ] = False,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the names as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Name the parts of a model: by hand (3=chest 4=chest), or by what labelled photos call them (--labels).

    Proposals are only printed, unless --apply is given. Names given by hand win over proposals.
    """
    from partswap.checkpoint import read_checkpoint, resolve_model, write_parts
    from partswap.errors import UsageError

    by_hand = _parse_names(names or [])
    if not by_hand and labels is None:
        raise UsageError("nothing to name: write ID=NAME, such as 3=chest, or give --labels DIR --images DIR")
    path = resolve_model(model, quiet)
    writing = bool(by_hand) or apply
    if writing:
        _refuse_shared(path, model)
    voice = Voice(quiet)
    wanted: dict[int, str] = {}
    if labels is not None:
        proposals = _propose(model, labels, images, classes, group, limit, device, engine, voice)
        if not as_json:
            _print_proposals(proposals)
        wanted = {each.id: each.name for each in proposals if each.name}
    parts = read_checkpoint(path).parts.renamed({**wanted, **by_hand} if apply or labels is None else by_hand)
    if writing:
        write_parts(path, parts)
    _report(parts if writing else parts.renamed(wanted), as_json)
    if writing:
        voice.say(f"{path}: names written")
    else:
        voice.say("nothing was written; give --apply to take these names")


@parts_app.command("closer")
def closer_command(
    parts: Annotated[
        str, typer.Argument(metavar="PARTS", help="By name or id: head,foot. Or none, to take it back.")
    ],
    model: ModelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say which small parts `segment` looks at once more, from near: heads, feet, a bird's beak.

    Parts of one name are looked at together. Look at what it gives (`partswap segment --quick` is without
    it): of what is hard to tell without the rest of the body, such as hands, it makes things worse.
    """
    from partswap.checkpoint import read_checkpoint, resolve_model, write_closer
    from partswap.checkpoint.config import MAX_CLOSER
    from partswap.errors import UsageError

    path = resolve_model(model, quiet)
    _refuse_shared(path, model)
    known = read_checkpoint(path).parts
    kinds: dict[str, list[int]] = {}
    for part in () if parts.strip().casefold() == "none" else known.parse(parts):
        kinds.setdefault(known.name(part), []).append(part)
    if len(kinds) > MAX_CLOSER:
        raise UsageError(
            f"{len(kinds)} kinds of part are too many to look at from near; name {MAX_CLOSER} at most"
        )
    write_closer(path, list(kinds.values()))
    Voice(quiet).say(f"{path}: looked at from near: {', '.join(kinds) or 'nothing'}")


def _parse_names(words: list[str]) -> dict[int, str]:
    """`3=chest` words to names by id."""
    from partswap.errors import UsageError

    found: dict[int, str] = {}
    for word in words:
        part_id, sign, name = word.partition("=")
        if not sign or not (part_id.isascii() and part_id.strip().isdigit()) or len(part_id) > 9:
            raise UsageError(f"{word[:60]!r} is not ID=NAME, such as 3=chest")
        if int(part_id) in found:
            raise UsageError(f"part {int(part_id)} is named twice")
        found[int(part_id)] = name
    return found


def _refuse_shared(path: Path, model: str | None) -> None:
    """Models that came with partswap, or lie in the hub's cache, are not a person's own to change."""
    from partswap.checkpoint import is_embedded
    from partswap.errors import UsageError

    if is_embedded(path):
        raise UsageError(
            f"the model {path.name} came with partswap and is not changed in place; copy it first: "
            f"cp -r {path} my-{path.name}   and then give --model my-{path.name}"
        )
    if model is None or not os.path.isdir(os.path.expanduser(model)):
        raise UsageError(
            f"{model} lies in the hub's cache and is not changed in place; copy it first: "
            f"cp -rL {path} my-model   and then give --model my-model"
        )


def _propose(
    model: str | None,
    labels: Path,
    images: Path | None,
    classes: Path | None,
    group: str,
    limit: int,
    device: str,
    engine: str,
    voice: Voice,
) -> list[Proposal]:
    from partswap.benchmark.dataset import Classes, find_entries, read_photos
    from partswap.errors import UsageError
    from partswap.naming import propose_names
    from partswap.segmentation import load

    if images is None or classes is None:
        raise UsageError(
            "--labels needs --images DIR too, the photos under the same names as their label maps, and "
            "--classes FILE, a JSON file with the name of each pixel value"
        )
    entries = find_entries(images, labels, limit=limit)
    named = Classes.read(classes, group)
    photos = read_photos(voice.track(entries, "naming"), named, lambda entry, error: voice.error(error))
    try:
        return propose_names(load(model, device, engine, voice.quiet), photos, named.names, named.ignore)
    except ValueError as error:
        raise UsageError(f"none of the photos in {images} could be used: {error}") from error


def _segmented(
    model: Model, photos: list[Input], voice: Voice, failed: list[Input]
) -> Iterator[Segmentation]:
    from partswap.errors import ImageError

    for photo in voice.track(photos, "segmenting"):
        try:
            yield model.segment(photo.read())
        except ImageError as error:
            failed.append(photo)
            voice.error(error)


def _print_proposals(proposals: list[Proposal]) -> None:
    for each in proposals:
        print(f"{each.id}={each.name or '-'}\tIoU {each.iou:.2f}")


def _report(parts: Parts, as_json: bool) -> None:
    if as_json:
        print(json.dumps({part.id: part.name for part in parts}, ensure_ascii=False))
    else:
        print(" ".join(f"{part.id}={part.name}" for part in parts))
