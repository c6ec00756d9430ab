"""The report of `evaluate` as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_FITS = {
    "paper": "paper",
    "strict": "strict",
    "one_to_one": "one-to-one",
    "one_to_one_strict": "one-to-one, strict",
}
_MANY = 12


def render(report: dict[str, Any]) -> RenderableType:
    """What the command prints: data and rules, a row per segmentation and mapping, then framing and leak."""
    # With dozens of clothing classes a column each fits no terminal; the JSON has them all.
    classes = report["classes"][1:] if len(report["classes"]) <= _MANY else []
    # Text, not str: names from a file or a folder must not be taken for rich's markup
    table = Table(title=Text(_title(report)), title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("segmentation", overflow="fold", min_width=14)
    table.add_column("K", justify="right")
    table.add_column("mapping", overflow="fold")
    for name in [*classes, "overall", "foreground", "NMI", "ARI"]:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for name, scores in _segmentations(report):
        _add_rows(table, name, scores, classes, full=name == "partswap")
        table.add_section()
    if report["framing"]:
        _add_framed(table, report["framing"], report["parts"], classes)
    return Group(table, *map(Text, _notes(report)))


def _title(report: dict[str, Any]) -> str:
    data = report.get("data")
    where = f"{data} · " if data else ""
    return f"{where}{report['images']} images · K = {report['parts']} · seed {report['seed']}"


def _segmentations(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "partswap", report["model"]
    if report["named"]:
        yield "partswap, named parts", report["named"]
    yield from report["trivial"].items()


def _add_rows(table: Table, name: str, scores: dict[str, Any], classes: list[str], full: bool) -> None:
    """One row per mapping; trivial rows only have the many-to-one ones, which is where they are strong."""
    shared = [scores["foreground_iou"], scores["fg_nmi"], scores["fg_ari"]]
    for fit, label in _FITS.items():
        row = scores[fit]
        if row is None or (not full and fit.startswith("one")):
            continue
        numbers = [row["classes"][c] for c in classes] + [row["overall"]]
        first = fit == "paper"
        table.add_row(
            name if first else "",
            str(scores["parts"]) if first else "",
            label,
            *map(_number, numbers),
            *(map(_number, shared) if first else [""] * len(shared)),
            style="bold" if full and fit == "strict" else None,
        )


def _add_framed(table: Table, framing: dict[str, Any], parts: int, classes: list[str]) -> None:
    row = framing["framed"]
    numbers = [row["classes"][c] for c in classes]
    numbers += [row["overall"], framing["foreground_iou"], framing["fg_nmi"], framing["fg_ari"]]
    table.add_row("partswap, framed", str(parts), "strict, of the whole photos", *map(_number, numbers))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _notes(report: dict[str, Any]) -> Iterator[str]:
    """Everything that is not a row: the rule, framing, leak."""
    yield f"Mapping: {report['mapping_rule']}."
    yield "Overall: mean of the classes but background; per-image IoU over the images that hold the class."
    if framing := report["framing"]:
        yield (
            f"Framing: overall drops by {_number(framing['drop'])} in random windows of 0.35 to 1.6 of the "
            f"frame (8x4 grid of the true foreground: {_number(framing['drop_8x4_grid'])})."
        )
    if leak := report["leak"]:
        changed = ", ".join(
            f"{_percent(leak[key])} under {words}"
            for key, words in (("colour", "colour jitter"), ("warp", "a warp"))
        )
        yield f"Leak: share of foreground pixels that change their part: {changed}."


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
