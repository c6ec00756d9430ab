"""docs/reliability.md from what was run."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sandbox import LIMIT, Ran

if TYPE_CHECKING:
    from kills import Killed

__all__ = ["Row", "page"]

_TITLES = {
    "images": "Images, one by one",
    "checkpoints": "Checkpoints, one by one",
    "words": "Words that are no place",
    "folders": "All images in one folder",
}
_RULES = """\
A run is wrong if it dies of a signal, uses more than {limit:.0f} s of CPU time or does not end within a
minute of the clock (the machine is shared, so the clock alone says little), prints a traceback, a Python
warning or a control character, changes anything outside its output folder (the inputs and the home
folder are compared before and after; a `gs` on the PATH tells whether Ghostscript was called), leaves a
temporary file, exits with the wrong code, or fails with more or less than one sentence. Processes run
without the right to read what they may not, also as root. Items run in copies of a process that has
imported everything (`benchmarks/forked.py`); words and folders in a Python of their own.

In the tables a cell is the exit code: 0 taken, 1 the file was refused, 2 wrong usage (`parts show`: no
photo was left), 3 the model was refused; · not run; **bold** wrong, with the reason below the table.
"Either" means that both answers are fine, as long as nothing breaks: random bytes may still be a
picture.
"""
_FOUND = """\
Each has a test in `tests/reliability`:

- A progressive JPEG of 220 kB with 3000 scans was decoded for 36 s (4000 x 4000 pixels; more for more):
  scans times pixels have a limit now, looked at before anything is decoded.
- A `config.json` that names an encoder of 4 billion weights was built for 316 s before it was
  refused: nets are built without memory first, and only what fits its tensors gets any.
- An `input_long_side` of 4096 took 42 s; strides of 1 and 7, a `std` of 1e-300, weights of whole numbers
  and 5001 dimensions were tracebacks or quiet nonsense: all are refused by name. Weights have at most 1
  GiB (a sparse file of 3 GB was hashed for 18 s). NaN out of a net is an error.
- A named pipe that nobody writes to hung every command that met it.
- Label maps were opened with every decoder that Pillow has, and so EPS with Ghostscript.
- Names that are no UTF-8, `~nobody/x`, names of more than 255 letters, folders 1000 deep, folders that
  may not be entered, class names like `[/red]`: tracebacks. Line breaks and escapes in names reached the
  terminal.
- A photo whose results' names are too long stopped all that came after it.
- ONNX Runtime 1.31 sends events to its maker and leaves a file where temporary files go, unless a
  variable says no before it is imported: partswap says no.
- A kill between two renames lost a checkpoint until the next run; half a line stayed in `log.jsonl`;
  temporary files of a killed `train` stayed for good, and one in a model's folder kept it from being
  written again.
"""


@dataclass
class Row:
    """One item of the corpus, and what each command made of it."""

    name: str
    about: str
    expected: str
    cells: dict[str, Ran] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """A row from what `asdict` made of it."""
        return cls(**{**data, "cells": {column: Ran(**ran) for column, ran in data["cells"].items()}})

    def complaints(self) -> list[str]:
        """Everything that was wrong, with the command in front."""
        return [f"{column}: {said}" for column, ran in self.cells.items() for said in ran.complaints]


def page(tables: Mapping[str, list[Row]], kills: Sequence[Killed], counts: Mapping[str, int]) -> str:
    """The whole page in Markdown."""
    return "\n".join(_page(tables, kills, counts)).rstrip() + "\n"


def _page(
    tables: Mapping[str, list[Row]], kills: Sequence[Killed], counts: Mapping[str, int]
) -> Iterator[str]:
    yield "# Under attack and under faults\n"
    yield "Made by `python benchmarks/reliability.py --out docs/reliability.md`, from seeds: "
    yield f"{counts['images']} bad or odd images and {counts['checkpoints']} bad or hostile checkpoints.\n"
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("pillow", "safetensors", "torch", "onnxruntime-gpu")
    )
    yield f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}.\n"
    yield _RULES.format(limit=LIMIT)
    yield "## Summary\n"
    yield from _summary(tables, kills)
    if kills:
        yield from _kills(kills)
    yield "## Found by this, and mended\n"
    yield _FOUND
    for kind, rows in tables.items():
        yield f"## {_TITLES[kind]}\n"
        yield from _table(rows)


def _summary(tables: Mapping[str, list[Row]], kills: Sequence[Killed]) -> Iterator[str]:
    yield "| what | runs | wrong | exit codes | slowest, CPU | largest |"
    yield "|---|---|---|---|---|---|"
    for kind, rows in tables.items():
        runs = [ran for row in rows for ran in row.cells.values()]
        if not runs:
            continue
        codes = Counter("killed" if ran.code is None else str(ran.code) for ran in runs)
        told = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        slowest, largest = max(ran.cpu for ran in runs), max(ran.memory for ran in runs)
        wrong = sum(bool(ran.complaints) for ran in runs)
        yield f"| {_TITLES[kind]} | {len(runs)} | {wrong} | {told} | {slowest:.1f} s | {largest} MiB |"
    for kill in kills:
        wrong = len(kill.complaints)
        yield f"| kill -9 of `{kill.command}` | {kill.count} | {wrong} | | | |"
    yield ""


def _kills(kills: Sequence[Killed]) -> Iterator[str]:
    yield "## kill -9 at random moments\n"
    yield "| command | kills | moments, s after the start | half-written files taken for whole | then |"
    yield "|---|---|---|---|---|"
    for kill in kills:
        moments = f"{min(kill.moments):.1f} to {max(kill.moments):.1f}"
        yield f"| `{kill.command}` | {kill.count} | {moments} | {len(kill.complaints)} | {kill.then} |"
    yield ""
    for kill in kills:
        yield from (f"- `{kill.command}`: {said}" for said in kill.complaints)
        if kill.left:
            yield f"- `{kill.command}` left behind, until the next run or for good: {kill.left}"
    yield ""


def _table(rows: Sequence[Row]) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    yield f"| item | what is wrong with it | expected | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 3) + "|"
    for row in rows:
        cells = " | ".join(_cell(row.cells.get(column)) for column in columns)
        yield f"| `{_plain(row.name)}` | {_plain(row.about)} | {row.expected} | {cells} |"
    yield ""
    yield from (f"- `{_plain(row.name)}`, {_plain(said)}" for row in rows for said in row.complaints())
    yield ""


def _cell(ran: Ran | None) -> str:
    if ran is None:
        return "·"
    shown = "killed" if ran.code is None else str(ran.code)
    return f"**{shown}**" if ran.complaints else shown


def _plain(text: str) -> str:
    """What a table's cell can hold: long names are cut, and a bar would begin a new cell."""
    short = text if len(text) <= 200 else f"{text[:30]}…"
    return short.replace("|", "\\|").replace("`", "'")
