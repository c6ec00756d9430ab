"""Bad files through every command, and commands killed at random moments: writes docs/reliability.md.

    python benchmarks/reliability.py --out docs/reliability.md [--only images,checkpoints,folders,words,kills]

The corpus is made anew each time, from seeds, in a temporary folder (`tests/reliability/bad_*.py`). Every
command is a process of its own, with a home and caches of its own; see `sandbox.py` for what counts as wrong
and `kills.py` for kill -9. Takes about half an hour on two cores. Exit 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kills import Killed, killed_commands
from reliability_page import Row, page
from sandbox import LIMIT, ROOT, Ran, World

sys.path.insert(0, str(ROOT / "tests" / "reliability"))
sys.path.insert(0, str(ROOT / "tests" / "training"))

from bad_checkpoints import MODEL_WORDS, write_bad_checkpoints
from bad_images import encoded, picture, write_bad_images
from cases import FINE, REFUSED, Case

from partswap.errors import printable
from partswap.imaging.load import SUFFIXES

KINDS = ("images", "checkpoints", "words", "folders", "kills")
TRAIN = [
    *("--size", "64x64", "--parts", "4", "--batch", "4", "--steps", "1", "--distill-steps", "1"),
    *("--rounds", "1", "--device", "cpu", "--workers", "1"),
    *("--backbone", "mobilenetv3_small_050", "--pretrained", "none"),
]


@dataclass(frozen=True)
class Inputs:
    """What the commands are given besides the item that is tried: all of it is good."""

    world: World
    photo: Path
    labelled: Path
    images: list[Case]
    checkpoints: list[Case]

    @property
    def bad(self) -> Path:
        return self.world.inputs / "bad"

    @property
    def models(self) -> Path:
        return self.world.inputs / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="the page to write; stdout without it")
    parser.add_argument("--only", default=",".join(KINDS), help="some of " + ",".join(KINDS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--keep", type=Path, help="a JSON file that keeps what earlier calls ran with --only")
    parser.add_argument("--match", default="", help="only items with this in their name")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="partswap-reliability-") as folder:
        inputs = prepared(Path(folder), asked.match)
        made = {"images": of_images, "checkpoints": of_checkpoints, "words": of_words, "folders": of_folders}
        rows = {
            kind: run_all(made[kind](inputs), asked.jobs) for kind in made if kind in asked.only.split(",")
        }
        inputs.world.close()
        kills = killed_commands(Path(folder)) if "kills" in asked.only.split(",") else []
    if asked.keep is not None:
        rows, kills = joined(asked.keep, rows, kills)
    text = page(rows, kills, counts(inputs))
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text)
    wrong = [row for table in rows.values() for row in table if row.complaints()]
    sys.exit(bool(wrong or any(kill.complaints for kill in kills)))


def joined(
    path: Path, rows: dict[str, list[Row]], kills: list[Killed]
) -> tuple[dict[str, list[Row]], list[Killed]]:
    """What this call ran, and what is in the file of earlier calls; all of it is in the file afterwards."""
    before = json.loads(path.read_text()) if path.exists() else {"rows": {}, "kills": []}
    old = {kind: [Row.from_json(row) for row in table] for kind, table in before["rows"].items()}
    rows = {kind: (rows | {k: v for k, v in old.items() if k not in rows})[kind] for kind in KINDS[:-1]
            if kind in rows or kind in old}  # fmt: skip
    kills = kills or [Killed(**kill) for kill in before["kills"]]
    kept = {"rows": {kind: [asdict(row) for row in table] for kind, table in rows.items()}}
    path.write_text(json.dumps({**kept, "kills": [asdict(kill) for kill in kills]}))
    return rows, kills


def counts(inputs: Inputs) -> dict[str, int]:
    return {"images": len(inputs.images), "checkpoints": len(inputs.checkpoints)}


def prepared(folder: Path, match: str) -> Inputs:
    """The corpus, and good things beside it."""
    world = World(folder)
    for name in ("bad", "models", "labelled/images", "labelled/labels"):
        (world.inputs / name).mkdir(parents=True)
    images = write_bad_images(world.inputs / "bad")
    checkpoints = write_bad_checkpoints(world.inputs / "models", small_model(folder / "good"))
    photo = world.inputs / "photo.jpg"
    shutil.copyfile(ROOT / "examples" / "astronaut.jpg", photo)
    labelled = world.inputs / "labelled"
    for number in range(8):
        (labelled / "images" / f"{number}.png").write_bytes(encoded(picture(number), "PNG"))
        (labelled / "labels" / f"{number}.png").write_bytes(encoded(label_of(number), "PNG"))
    for file, names in (("classes", ["one", "two"]), ("odd-classes", ["[/red]one", "\x1b[31m"])):
        (labelled / f"{file}.json").write_text(json.dumps({"parts": ["background", *names]}))
    kept = [[case for case in cases if match in case.name] for cases in (images, checkpoints)]
    return Inputs(world, photo, labelled, *kept)


def small_model(folder: Path) -> Path:
    """A checkpoint that loads quickly, with random weights: what the bad ones are made from."""
    import torch

    from partswap.checkpoint import Config, write_checkpoint
    from partswap.nets.build import build_renderer, build_student
    from partswap.parts import Parts

    torch.manual_seed(0)
    nets: dict[str, tuple[Any, dict[str, Any]]] = {
        "student": (build_student, {"backbone": "mobilenetv3_small_050", "parts": 6, "width": 16}),
        "renderer": (build_renderer, {"parts": 6, "appearance": 8, "width": 16}),
    }
    tensors = {
        f"{which}.{name}": tensor
        for which, (build, config) in nets.items()
        for name, tensor in build(config).state_dict().items()
    }
    config = Config("small", 6, nets["student"][1], nets["renderer"][1], size=(64, 64), input_long_side=96)
    write_checkpoint(folder, config, Parts.default(6), tensors, "# small: random weights\n")
    return folder


def label_of(seed: int) -> Any:
    """A label map with the classes 0, 1 and 2."""
    return picture(seed).convert("L").point(lambda value: value // 86)


# ---------------------------------------------------------------- what is run

Job = tuple[Row, str, Callable[[], Ran]]
"""The row and the column of the table, and what runs the command."""


def run_all(jobs: Iterator[Job], at_once: int) -> list[Row]:
    """Run everything; rows in their order."""
    listed = list(jobs)

    def one(job: Job) -> None:
        row, column, run = job
        ran = run()
        if (
            ran.cpu < LIMIT < ran.seconds and ran.code is not None
        ):  # waited, or the machine was busy: once more
            again = run()
            ran = min(ran, again, key=lambda each: each.seconds)
        row.cells[column] = ran
        print(
            f"{row.name}\t{column}\t{ran.code}\t{ran.seconds:.1f}s\t{'; '.join(ran.complaints)}",
            file=sys.stderr,
        )

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, listed))
    rows = {id(row): row for row, _, _ in listed}
    return list(rows.values())


def of_images(inputs: Inputs) -> Iterator[Job]:
    """Every bad image alone, through everything that takes one."""
    world = inputs.world
    for case in inputs.images:
        path, row = inputs.bad / case.name, Row(printable(case.name), case.about, case.expected)
        commands: dict[str, list[object]] = {
            "segment": [
                "segment",
                path,
                "--out",
                ".",
                "--what",
                "labels,overlay,cutouts,probabilities",
                "--json",
            ],
            "transfer from": ["transfer", path, inputs.photo, "--parts", "chest,arm", "--out", "new.png"],
            "transfer to": ["transfer", inputs.photo, path, "--parts", "chest,arm", "--out", "new.jpg"],
            "parts show": ["parts", "show", path, "--out", "sheet.png"],
        }
        for column, words in commands.items():
            yield row, column, checked_image(world, words, case, column)


def checked_image(world: World, words: list[object], case: Case, column: str) -> Callable[[], Ran]:
    """A refusal is exit 1 (2 where no photo is left at all) and one sentence that names the file."""

    def run() -> Ran:
        ran = world.run(words)
        # a good photo may show no person, or another command may take a name that `segment` cannot
        free = column.startswith("transfer") or case.name.startswith("x" * 99)
        if case.expected == REFUSED and ran.code == 0 and not free:
            ran.complaints.append("was taken")
        if case.expected == FINE and ran.code and not free:
            ran.complaints.append(f"was refused: {ran.err.strip()[-150:]}")
        said_once(ran, printable(Path(case.name).stem) if column == "segment" else "")
        return ran

    return run


def said_once(ran: Ran, named: str = "") -> None:
    """A failure says one sentence (`parts show` says a second one: nothing is left), success says none."""
    if ran.code is None or ran.code < 0 or "traceback" in " ".join(ran.complaints):
        return
    errors = ran.errors()
    if ran.code == 0 and errors:
        ran.complaints.append(f"said {errors[0]!r} and exited with 0")
    if ran.code and not 1 <= len(errors) <= 2:
        ran.complaints.append(f"exit {ran.code} with {len(errors)} sentences: {ran.err.strip()[:100]!r}")
    if ran.code and named and not any(named in line for line in errors):
        ran.complaints.append(f"did not name {named!r}: {errors[:1]}")
    # (a run of `train` keeps its folder and its log, whatever becomes of it)
    if (
        ran.code
        and ran.words[0] != "train"
        and (left := [name for name in ran.made if name.startswith("out/")])
    ):
        ran.complaints.append(f"failed, and left {left[0]}")


def of_checkpoints(inputs: Inputs) -> Iterator[Job]:
    """Every bad checkpoint alone, through everything that takes a model."""
    world, labelled = inputs.world, inputs.labelled
    pair = ["--images", labelled / "images", "--labels", labelled / "labels"]
    for case in inputs.checkpoints:
        row = Row(case.name, case.about, case.expected)
        model: list[object] = ["--model", inputs.models / case.name]
        commands: dict[str, list[object]] = {
            "segment": ["segment", inputs.photo, "--out", ".", *model],
            "transfer": [
                "transfer",
                inputs.photo,
                inputs.photo,
                "--parts",
                "1,2",
                "--out",
                "new.png",
                *model,
            ],
            "parts show": ["parts", "show", inputs.photo, "--out", "sheet.png", *model],
            "evaluate": ["evaluate", *pair, "--json", *model],
            "doctor": ["doctor", "--device", "cpu", *model],
            "train --refine": [
                "train",
                labelled / "images",
                "--refine",
                inputs.models / case.name,
                *TRAIN,
            ],
        }
        for column, words in commands.items():
            yield row, column, checked_model(world, words, case, column)
        if case.expected == REFUSED:  # of a good one this takes a minute, and the kills below do it 20 times
            words = ["export-onnx", "--out", "graph.onnx", *model]
            yield row, "export-onnx", checked_model(world, words, case, "export-onnx")
        words = ["models", "verify", inputs.models / case.name, "--device", "cpu"]
        yield row, "models verify", checked_model(world, words, case, "models verify")
        words = ["models", "info", inputs.models / case.name]
        yield row, "models info", checked_model(world, words, case, "models info")
        words = ["parts", "name", "1=torso", "--model", "model"]
        yield row, "parts name", checked_model(world, words, case, "parts name", inputs.models / case.name)


# What only lies in the tensors is not looked at by a command that does not load them.
NOT_LOADED = ("parts name", "models info")


def checked_model(
    world: World, words: list[object], case: Case, column: str, copied: Path | None = None
) -> Callable[[], Ran]:
    """A refusal is exit 3 and one sentence."""

    def run() -> Ran:
        ran = world.run(words, model=copied)
        header_only = column in NOT_LOADED and case.name.startswith(("weights-", "config-"))
        if case.expected == REFUSED and ran.code != 3 and not header_only and ran.code is not None:
            ran.complaints.append(f"exit {ran.code} where 3 belongs: {ran.err.strip()[-150:]!r}")
        no_part = column == "transfer" and ran.code == 1  # random weights see none; they were loaded, though
        if case.expected == FINE and ran.code != 0 and not no_part and ran.code is not None:
            ran.complaints.append(f"was refused: {ran.err.strip()[-150:]!r}")
        if column != "doctor":  # which tells of problems on stdout
            said_once(ran)
        return ran

    return run


def of_words(inputs: Inputs) -> Iterator[Job]:
    """What may not be looked up anywhere, given as a model, a photo, and a folder."""
    for word in MODEL_WORDS:
        shown = printable(word if len(word) < 60 else f"{word[:20]}… ({len(word)} letters)")
        row = Row(shown or "(nothing)", "a word after --model, and for a photo", REFUSED)
        commands: dict[str, tuple[list[object], int]] = {
            "segment --model": (["segment", inputs.photo, "--model", word, "--out", "."], 3),
            "doctor --model": (["doctor", "--model", word], 3),
            "segment": (["segment", "--", word or "./", "--out", "."], 0),
            "evaluate --images": (["evaluate", "--images", word or "-", "--labels", word or "-"], 2),
            "train": (["train", "--", word or "nothing", *TRAIN], 2),
        }
        for column, (words, code) in commands.items():
            yield row, column, checked_words(inputs.world, words, code)


def checked_words(world: World, words: Sequence[object], code: int) -> Callable[[], Ran]:
    def run() -> Ran:
        ran = world.run(words, fresh=True)
        if (ran.code != code) if code else not ran.code:
            ran.complaints.append(f"exit {ran.code} where {code or 'a failure'} belongs")
        return ran

    return run


def of_folders(inputs: Inputs) -> Iterator[Job]:
    """The whole corpus at once: each bad file is named, and all others are done."""
    world, labelled = inputs.world, inputs.labelled
    bad = inputs.bad
    mixed = world.inputs / "mixed"  # bad photos with good labels, and good photos with bad labels
    for kind in ("images", "labels", "good"):
        (mixed / kind).mkdir(parents=True)
    listed = [case for case in inputs.images if Path(case.name).suffix.lower() in SUFFIXES]
    listed = [case for case in listed if not (bad / case.name).is_dir()]
    single = [case for case in listed if case.name.count(".") == 1 and not case.name.startswith("x" * 99)]
    once = list({Path(case.name).stem: case for case in single}.values())
    for case in once:
        os.symlink(bad / case.name, mixed / "images" / case.name)
        for place, made in (("labels", label_of(0)), ("good", picture(0))):
            (mixed / place / f"{Path(case.name).stem}.png").write_bytes(encoded(made, "PNG"))
    classes = ["--classes", labelled / "classes.json"]
    commands: dict[str, tuple[list[object], list[Case], int]] = {
        "segment": (["segment", bad, "--out", "."], listed, 1),
        "transfer from": (["transfer", bad, inputs.photo, "--parts", "chest", "--out", "."], listed, 1),
        "transfer to": (["transfer", inputs.photo, bad, "--parts", "chest", "--out", "."], listed, 1),
        "parts show": (["parts", "show", bad, "--count", 50, "--out", "sheet.png"], [], 1),
        "evaluate, photos": (
            ["evaluate", "--images", mixed / "images", "--labels", mixed / "labels"],
            once,
            1,
        ),
        "evaluate, labels": (["evaluate", "--images", mixed / "good", "--labels", mixed / "images"], once, 1),
        "parts name --labels": (
            ["parts", "name", "--images", mixed / "images", "--labels", mixed / "labels", *classes],
            once,
            0,
        ),
        "evaluate, classes": (
            [
                "evaluate",
                "--images",
                labelled / "images",
                "--labels",
                labelled / "labels",
                "--classes",
                labelled / "odd-classes.json",
            ],
            [],
            0,
        ),
        "train": (["train", bad, "--masks", bad, *TRAIN], listed, 0),
    }
    for column, (words, named, code) in commands.items():
        row = Row(column, "the whole corpus in one folder", REFUSED)
        yield row, "all at once", checked_folder(world, words, named, code)


def checked_folder(world: World, words: list[object], cases: list[Case], code: int) -> Callable[[], Ran]:
    def run() -> Ran:
        ran = world.run(words, limit=10 * LIMIT, fresh=True)
        if ran.code != code:
            ran.complaints.append(f"exit {ran.code} where {code} belongs: {ran.err.strip()[-150:]!r}")
        for case in cases:
            named = printable(Path(case.name).stem if words[0] in ("evaluate", "parts") else case.name)
            if case.expected == REFUSED and named not in ran.err and not case.name.startswith("x" * 99):
                ran.complaints.append(f"did not name {named!r}")
        if words[0] == "segment":
            missing = [case.name for case in cases if case.expected == FINE and not made_for(case, ran)]
            ran.complaints += [f"did not do {name!r}" for name in missing]
        return ran

    return run


def made_for(case: Case, ran: Ran) -> bool:
    stem = Path(case.name).stem
    return any(name in ran.made for name in (f"out/{stem}.parts.png", f"out/{case.name}.parts.png"))


if __name__ == "__main__":
    main()
