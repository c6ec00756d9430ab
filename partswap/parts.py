"""The vocabulary: which parts a model has, what they are called and which colour they wear.

A *part* is one channel of the part map, id 1..K (0 is background). A *named part* is a name over one or more
ids: the left and the right arm can both be called ``arm``. Ids never change once a model is trained; names
and colours may.
"""

from __future__ import annotations

import colorsys
import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from partswap.errors import ModelError, UsageError

__all__ = ["MAX_PARTS", "Color", "Part", "Parts"]

Color = tuple[int, int, int]

MAX_PARTS = 254
"""Label maps are 8 bit, 0 is background and 255 is kept for `ignore`."""

_MAX_NAME = 40
# `all` selects every part, `none` no part; the others are what `segment` writes next to a cutout called
# STEM.NAME.png. A name without dots can neither leave its folder nor look like the end of another photo's
# output.
_RESERVED = {"all", "none", "background", "parts", "overlay", "probabilities"}
_FORBIDDEN = set('/\\:*?"<>|,=.')


@dataclass(frozen=True)
class Part:
    """One discovered part: its channel in the part map (1..K), its name, and its colour (red, green, blue,
    each 0..255)."""

    id: int
    name: str
    color: Color


class Parts(Sequence[Part]):
    """The parts of a model, ids 1..K in order.

    Indexing follows Python (``parts[0]`` is id 1); ``parts.ids(name)`` and ``parts.parse(text)`` speak ids.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        """Raises ModelError when ids are not exactly 1..K, or a name or a colour cannot be used."""
        self._parts = tuple(parts)
        if not 1 <= len(self._parts) <= MAX_PARTS:
            raise ModelError(f"a model has 1 to {MAX_PARTS} parts, but this one lists {len(self._parts)}")
        spelling: dict[str, str] = {}
        for expected, part in enumerate(self._parts, start=1):
            if part.id != expected:
                raise ModelError(
                    f"part ids must be 1 to {len(self._parts)} in order, but id {part.id} "
                    f"stands where {expected} belongs"
                )
            problem = _name_problem(part.name) or _color_problem(part.color)
            if problem:
                raise ModelError(f"part {part.id}: {problem}")
            known = spelling.setdefault(part.name.casefold(), part.name)
            if known != part.name:
                raise ModelError(f"the names {known!r} and {part.name!r} differ only in case")

    @classmethod
    def default(cls, count: int) -> Parts:
        """Parts ``part1`` .. ``partK`` with well separated colours, for a model nobody has named yet."""
        if not 1 <= count <= MAX_PARTS:
            raise UsageError(f"a model can have 1 to {MAX_PARTS} parts, not {count}")
        return cls(Part(i, f"part{i}", _default_color(i)) for i in range(1, count + 1))

    # -- as a sequence
    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | Sequence[Part]:
        return self._parts[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parts) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return "Parts(" + ", ".join(f"{p.id}={p.name}" for p in self._parts) + ")"

    # -- names, ids, colours
    @property
    def names(self) -> list[str]:
        """The named parts, each once, in the order of their lowest id."""
        return list(dict.fromkeys(part.name for part in self._parts))

    @property
    def named(self) -> bool:
        """Whether somebody has named at least one part (`Parts.default` names do not count)."""
        return any(part.name != f"part{part.id}" for part in self._parts)

    def ids(self, name: str) -> tuple[int, ...]:
        """The ids that carry ``name`` (upper and lower case are the same); raises UsageError for an unknown
        name."""
        wanted = _tidy(name).casefold()
        found = tuple(part.id for part in self._parts if part.name.casefold() == wanted)
        if not found:
            raise UsageError(self._unknown(name))
        return found

    def name(self, part_id: int) -> str:
        """The name of an id; 0 is ``background``."""
        return "background" if part_id == 0 else self._parts[part_id - 1].name

    def color(self, name: str) -> Color:
        """The colour a legend shows for ``name``: that of its lowest id."""
        return self._parts[self.ids(name)[0] - 1].color

    def palette(self) -> list[Color]:
        """K+1 colours, index = pixel value of a label map, index 0 black."""
        return [(0, 0, 0), *(part.color for part in self._parts)]

    def parse(self, text: str | Iterable[str | int]) -> tuple[int, ...]:
        """Ids meant by ``"chest,arm"``, ``"3,7"``, ``"all"`` or an iterable of such words, sorted, each once.

        Raises UsageError for nothing at all, an id outside 1..K, or an unknown name (with the names that
        exist and the closest one).
        """
        words = text.split(",") if isinstance(text, str) else [str(word) for word in text]
        words = [_tidy(word) for word in words if _tidy(word)]
        if not words:
            raise UsageError(f"no part was named; choose from {', '.join(self.names)}, or all")
        ids: set[int] = set()
        for word in words:
            if word.casefold() == "all":
                ids.update(range(1, len(self) + 1))
            elif word.isascii() and word.isdigit():
                ids.add(self._checked_id(int(word[:9])))
            else:
                ids.update(self.ids(word))
        return tuple(sorted(ids))

    def renamed(self, names: Mapping[int, str]) -> Parts:
        """A copy with some ids named anew.

        Ids that share a name share a hue (the lowest id's own), each a little lighter or darker; colours of
        names that are not touched stay. Raises UsageError for an id outside 1..K or an unusable name.
        """
        spelling = {part.name.casefold(): part.name for part in self._parts}
        new = {part.id: part.name for part in self._parts}
        for part_id, name in names.items():
            tidy = _tidy(name)
            problem = _name_problem(tidy)
            if problem:
                raise UsageError(problem)
            new[self._checked_id(part_id)] = spelling.setdefault(tidy.casefold(), tidy)
        touched = {new[i].casefold() for i in names} | {self._parts[i - 1].name.casefold() for i in names}
        colors = _group_colors(new)
        return Parts(
            Part(p.id, new[p.id], colors[p.id] if new[p.id].casefold() in touched else p.color)
            for p in self._parts
        )

    # -- on disk
    def to_json(self) -> dict[str, Any]:
        """What ``parts.json`` holds."""
        return {
            "format": 1,
            "parts": [{"id": p.id, "name": p.name, "color": list(p.color)} for p in self._parts],
        }

    @classmethod
    def from_json(cls, data: object) -> Parts:
        """Parts from a parsed ``parts.json``; anything but exactly the expected shape is a ModelError."""
        if not isinstance(data, dict) or not isinstance(data.get("parts"), list):
            raise ModelError('parts.json must be an object with a list called "parts"')
        if data.get("format") != 1:
            raise ModelError(
                f"parts.json has format {str(data.get('format'))[:20]}, but this partswap reads format 1"
            )
        if len(data["parts"]) > MAX_PARTS:
            raise ModelError(f"a model has 1 to {MAX_PARTS} parts, but parts.json lists {len(data['parts'])}")
        return cls(_part_from_json(entry) for entry in data["parts"])

    def _checked_id(self, part_id: int) -> int:
        if not 1 <= part_id <= len(self):
            raise UsageError(f"there is no part {part_id}: this model has parts 1 to {len(self)}")
        return part_id

    def _unknown(self, name: str) -> str:
        folded = {known.casefold(): known for known in self.names}
        close = difflib.get_close_matches(_tidy(name).casefold(), folded, n=1, cutoff=0.6)
        hint = f"did you mean {folded[close[0]]!r}? " if close else ""
        listed = ", ".join(self.names)
        return (
            f"there is no part called {name[:60]!r}; {hint}this model has {listed} (or ids 1 to {len(self)})"
        )


def _part_from_json(entry: object) -> Part:
    if not isinstance(entry, dict):
        raise ModelError("parts.json: every part must be an object with id, name and color")
    part_id, name, color = entry.get("id"), entry.get("name"), entry.get("color")
    if type(part_id) is not int:
        raise ModelError(f"parts.json: a part's id must be a whole number, not {part_id!r}")
    if not isinstance(name, str) or not isinstance(color, list):
        raise ModelError(f"parts.json: part {part_id} needs a name (text) and a color (three numbers)")
    return Part(part_id, name, tuple(color))  # type: ignore[arg-type]  # checked by Parts


def _tidy(name: str) -> str:
    """One spelling per name: composed characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def _name_problem(name: str) -> str | None:
    """Why ``name`` cannot be a part's name (it becomes a piece of file names), or None."""
    shown = repr(name[:60])
    if not 1 <= len(name) <= _MAX_NAME:
        return f"a part's name has 1 to {_MAX_NAME} characters, not {len(name)}"
    if not name.isprintable() or name != _tidy(name):
        return f"a part's name must be printable, with single spaces only: {shown}"
    if _FORBIDDEN & set(name) or name[0] == "-":
        signs = "".join(sorted(_FORBIDDEN))
        return f"a part's name cannot hold any of {signs} or begin with a dash: {shown}"
    if name.casefold() in _RESERVED or name.isdigit():
        return f"{shown} cannot be a part's name because it already means something else"
    return None


def _color_problem(color: object) -> str | None:
    if isinstance(color, tuple) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color):
        return None
    return f"a colour is three whole numbers from 0 to 255, not {str(color)[:60]}"


def _default_color(part_id: int) -> Color:
    """The same colour for an id in every model, however many parts it has."""
    from partswap.imaging.draw import palette  # here, because it brings numpy

    return palette(MAX_PARTS)[part_id]


def _group_colors(names: Mapping[int, str]) -> dict[int, Color]:
    """Colours by name: the lowest id's own colour, then shades of it."""
    members: dict[str, list[int]] = {}
    for part_id in sorted(names):
        members.setdefault(names[part_id], []).append(part_id)
    return {i: _shade(_default_color(ids[0]), n) for ids in members.values() for n, i in enumerate(ids)}


def _shade(color: Color, step: int) -> Color:
    """The same hue, darker and lighter in turn: steps 0, -.09, +.09, -.18, ... of lightness."""
    hue, light, saturation = colorsys.rgb_to_hls(*(c / 255 for c in color))
    offset = 0.09 * ((step + 1) // 2) * (-1 if step % 2 else 1)
    return _rgb(hue, min(0.9, max(0.15, light + offset)), saturation) if step else color


def _rgb(hue: float, light: float, saturation: float) -> Color:
    red, green, blue = colorsys.hls_to_rgb(hue, light, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)
