"""`partswap models`: the models of this machine and of the hub."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partswap.cli.console import Voice
from partswap.cli.options import DeviceOption, EngineOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from partswap.checkpoint.hub_id import HubId
    from partswap.verification import Check

__all__ = ["models_app"]

models_app = typer.Typer()

_IdArgument = Annotated[str, typer.Argument(metavar="OWNER/NAME[@REVISION]", help="A model on the hub.")]
_ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="A folder, an embedded name, or a hub id OWNER/NAME@REVISION. Default: the embedded model.",
        show_default=False,
    ),
]
_SIGNS = {True: "ok", False: "FAIL", None: "-"}


@models_app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """The models that are here: those that came with partswap, and those pulled from the hub."""
    from partswap.checkpoint.catalogue import known_models

    entries = known_models()
    if as_json:
        print(json.dumps([entry.to_json() for entry in entries], ensure_ascii=False, indent=2))
        return
    rows = [("MODEL", "", "SIZE", "K", "LICENCE", "PARTS")]
    for entry in entries:
        if entry.error is not None:
            rows.append((entry.model, entry.kind, "", "", "", f"cannot be read: {entry.error}"))
            continue
        size = f"{entry.size / 2**20:.1f} MiB"
        rows.append((entry.model, entry.kind, size, str(entry.parts), entry.license, " ".join(entry.names)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.rjust(width) if column in (2, 3) else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
        print("  ".join([*cells, row[5]]).rstrip())


@models_app.command("pull")
def pull_command(model: _IdArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Download a model, or bring it up to date; prints it with its commit, as --model takes it.

    Whoever uses OWNER/NAME or OWNER/NAME@BRANCH later gets this commit, without asking the hub, until the
    next pull. Needs HF_TOKEN, or hf auth login, for private and gated models.
    """
    from partswap.checkpoint import read_checkpoint
    from partswap.checkpoint.hub import pull

    checkpoint = read_checkpoint(pull(_hub_id(model), quiet))
    if as_json:
        files = {entry.name: entry.stat().st_size for entry in sorted(checkpoint.path.iterdir())}
        print(json.dumps({**checkpoint.identity, "path": str(checkpoint.path), "files": files}, indent=2))
        return
    print(checkpoint.hub)
    Voice(quiet).say(f"{checkpoint.path}: {len(checkpoint.parts)} parts, weights {checkpoint.revision}")


@models_app.command("push")
def push_command(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The model: a folder, or an embedded name.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where to; made if it is not there.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make it so that only you, or your organisation, can see it.")
    ] = False,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify a model, and upload its config, parts, weights and card in one commit; prints the commit.

    Needs a token that may write: HF_TOKEN, or hf auth login.
    """
    from partswap.checkpoint.card import UNKNOWN_LICENSE, card_license
    from partswap.checkpoint.push import push, refuse_unready
    from partswap.errors import UsageError
    from partswap.verification import verify

    target = _hub_id(repo)
    if target.revision is not None:
        raise UsageError(
            f"a push goes to the default branch; write {target.repo}, without @{target.revision}"
        )
    path = _local(folder)
    refuse_unready(path, target)
    voice = Voice(quiet)
    _refuse_failed(path, verify(path, engine, device))
    if card_license(path) == UNKNOWN_LICENSE:
        voice.say("note: the card names no licence; write one into the head of README.md (license: ...)")
    done = push(path, target, private, quiet)
    if as_json:
        print(json.dumps({"hub": target.repo, "commit": done.hub_id.revision, "url": done.url}))
    else:
        print(done.hub_id)
    voice.say(done.url)


@models_app.command("verify")
def verify_command(
    model: _ModelArgument = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Store what this model gives now (verification.json), to compare with."),
    ] = False,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a model's hashes, values, shapes and names, and what it makes of a drawn picture.

    Exit 0 all in order, 3 something is not. A line with - had nothing to compare with.
    """
    from partswap.checkpoint import resolve_model
    from partswap.verification import verify, write_verification

    path = _local(model) if write else resolve_model(model, quiet)
    if write:
        Voice(quiet).say(f"{write_verification(path)} written")
    checks = verify(path, engine, device)
    if as_json:
        print(
            json.dumps(
                {"path": str(path), "good": _good(checks), "checks": [vars(c) for c in checks]}, indent=2
            )
        )
    else:
        for check in checks:
            print(f"{_SIGNS[check.good]:<4}  {check.name:<8}  {check.words}")
    _refuse_failed(path, checks)


@models_app.command("info")
def info_command(
    model: _ModelArgument = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """What a model says about itself: parts, licence, scores, how it was trained."""
    from partswap.checkpoint import read_checkpoint, resolve_model
    from partswap.checkpoint.catalogue import describe

    about = describe(read_checkpoint(resolve_model(model, quiet)))
    if as_json:
        print(json.dumps(about, ensure_ascii=False, indent=2))
    else:
        _print_info(about)


@models_app.command("card")
def card_command(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The model: a folder, or an embedded name.")],
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", metavar="FILE", help="Write the scores of this report (evaluate --out FILE) into it."
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="What --scores were measured on, for people.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a model's card (README.md), and put the scores of a report into its head (model-index)."""
    from partswap.checkpoint.card import card_scores, check_card, read_card
    from partswap.errors import ModelError

    path = _local(folder)
    if scores is not None:
        _write_scores(path, scores, dataset)
    found = card_scores(read_card(path))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    for each in [] if as_json else found:
        print(f"{each['value']}\t{each['name']}\t{each['dataset']}")
    problems = check_card(path)
    if problems:
        raise ModelError(f"the card of {path} is not in order: {'; '.join(problems)}")


def _write_scores(path: Path, report: Path, dataset: str) -> None:
    from partswap.checkpoint import read_checkpoint
    from partswap.checkpoint.card import read_card, report_scores, with_scores
    from partswap.checkpoint.files import CARD_FILE, read_json
    from partswap.errors import ModelError, UsageError
    from partswap.imaging.save import atomic_write

    if not dataset.strip():
        raise UsageError('say what was scored with --dataset, for example --dataset "Flowers (200 photos)"')
    try:
        found = report_scores(read_json(report))
    except ModelError as error:
        raise UsageError(str(error)) from error
    text = with_scores(read_card(path), read_checkpoint(path).config.name, found, dataset.strip())
    with atomic_write(path / CARD_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _hub_id(text: str) -> HubId:
    from partswap.checkpoint.hub_id import parse_hub_id
    from partswap.errors import UsageError

    found = parse_hub_id(text)
    if found is None:
        raise UsageError(f"{text[:200]!r} is not a hub id like owner/name or owner/name@revision")
    return found


def _local(model: str | None) -> Path:
    """The folder of a model that is no hub id."""
    from partswap.checkpoint import embedded_models, resolve_model
    from partswap.errors import UsageError

    if model is not None and model not in embedded_models() and not os.path.exists(os.path.expanduser(model)):
        raise UsageError(f"there is no folder {model[:200]!r}, and no embedded model of that name")
    return resolve_model(model)


def _good(checks: list[Check]) -> bool:
    return all(check.good is not False for check in checks)


def _refuse_failed(path: Path, checks: list[Check]) -> None:
    from partswap.errors import ModelError

    failed = [f"{check.name} ({check.words})" for check in checks if check.good is False]
    if failed:
        raise ModelError(f"{path} is not in order: {'; '.join(failed)}")


def _print_info(about: dict[str, Any]) -> None:
    names: dict[str, list[int]] = {}
    for part in about["parts"]:
        names.setdefault(part["name"], []).append(part["id"])
    parts = ", ".join(f"{name} ({' '.join(map(str, ids))})" for name, ids in names.items())
    training = about["training"]
    told = ("photos", "steps", "distill_steps", "seed", "hardware", "pretrained")
    lines = [
        ("model", about["model"]),
        ("hub", f"{about['hub']}@{about['commit']}" if "hub" in about else None),
        ("path", about["path"]),
        ("weights", f"{about['revision']}, {about['size'] / 2**20:.1f} MiB in all"),
        ("licence", about["license"]),
        ("parts", f"{len(about['parts'])}: {parts}"),
        ("net", f"{about['student']['backbone']}, photos at {about['input_long_side']} pixels"),
        ("training", ", ".join(f"{key} {training[key]}" for key in told if training.get(key) is not None)),
        *(("score", f"{s['value']}  {s['name']}, on {s['dataset']}") for s in about["scores"]),
    ]  # fmt: skip
    for name, value in lines:
        if value:
            print(f"{name:<8}  {value}")
