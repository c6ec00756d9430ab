"""What is asked for: named parts of the source onto named parts of the target, and whether they show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from partswap.errors import UsageError
from partswap.parts import Parts
from partswap.transfer.layers import Subject

__all__ = ["Names", "Wish", "is_all", "mirror_name", "presence", "wishes"]

Names = str | Iterable[str | int]
"""Named parts: `"chest,arm"`, `["chest", 7]`."""

_HEAD = {"head", "hair", "face", "neck"}
_LEAST = 0.0015  # of a person's area: a part below it is not shown
_TRACE = 1e-4


@dataclass(frozen=True)
class Wish:
    """The look of one named part (ids of the source) for one named part (ids of the target)."""

    name: str
    to: str
    source: tuple[int, ...]
    target: tuple[int, ...]


def wishes(parts: Parts, names: Names, to: str | Iterable[str | int] | None) -> list[Wish]:
    """Parse what was asked for.

    Args:
        names: as `Parts.parse` takes them; "all" means every part but head and neck. to: the target's parts,
            one for each of `names`, or one for all; None is the same parts.

    Raises:
        UsageError: an unknown name, nothing at all, or counts that do not match.
    """
    taken = _named(parts, names)
    if to is None:
        return [Wish(name, name, ids, ids) for name, ids in taken]
    given = _named(parts, to)
    if len(given) == 1:
        ids = tuple(sorted(i for _, some in taken for i in some))
        return [Wish("+".join(name for name, _ in taken), given[0][0], ids, given[0][1])]
    if len(given) != len(taken):
        raise UsageError(
            f"--parts names {len(taken)} parts and --to names {len(given)}: name as many, or one for --to"
        )
    return [Wish(a, b, x, y) for (a, x), (b, y) in zip(taken, given, strict=True)]


def is_all(names: Names) -> bool:
    """Whether `all` was asked for, which forgives parts that a photo does not show."""
    words = names.split(",") if isinstance(names, str) else [str(word) for word in names]
    return any(word.strip().casefold() == "all" for word in words)


def _named(parts: Parts, names: Names) -> list[tuple[str, tuple[int, ...]]]:
    words = names.split(",") if isinstance(names, str) else [str(word) for word in names]
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        if not word.strip():
            continue
        ids = _all_but_head(parts) if word.strip().casefold() == "all" else parts.parse([word])
        for part_id in ids:
            name = parts.name(part_id)
            found[name] = tuple(sorted({*found.get(name, ()), part_id}))
    if not found:
        parts.parse("")  # raises with the names that exist
    return list(found.items())


def _all_but_head(parts: Parts) -> tuple[int, ...]:
    ids = tuple(part.id for part in parts if part.name.casefold() not in _HEAD)
    return ids or parts.parse("all")


def mirror_name(parts: Parts, name: str) -> tuple[int, ...]:
    """The ids of `left arm` for `right arm`, where a model tells them apart; () otherwise."""
    swapped = re.sub(
        r"\b(left|right)\b", lambda m: "right" if m[0].casefold() == "left" else "left", name, flags=re.I
    )
    if swapped == name or swapped.casefold() not in {known.casefold() for known in parts.names}:
        return ()
    return parts.ids(swapped)


def presence(subject: Subject, ids: tuple[int, ...]) -> str:
    """Whether a person shows some parts: `shown`, `trace` (a little soft probability, or nothing left
    of it in the label map, whose outline follows the photo), or `absent`."""
    height, width = subject.content
    body = float((1 - subject.part_map[0, :height, :width]).sum())
    some = subject.summed(ids)
    enough = float((some > 0.5).sum()) >= _LEAST * max(body, 1.0)
    if enough and any((subject.labels == part).any() for part in ids):
        return "shown"
    return "trace" if float(some.sum()) >= _TRACE * max(body, 1.0) else "absent"
