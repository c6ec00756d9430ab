"""From what a person typed (files, folders, globs, `-`) to photos and to names for what is made of them.

Everything that can go wrong with names is found here, before any work is done.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from partswap.errors import UsageError
from partswap.imaging.load import list_images
from partswap.imaging.opening import read_bounded

__all__ = ["CLIP_SUFFIXES", "Input", "collect_inputs", "refuse_clashes", "without_results"]

CLIP_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp"})
"""Lower-case file name endings that are taken for clips; folders are searched for photos only."""

_GLOB_SIGNS = ("*", "?", "[")


@dataclass(frozen=True)
class Input:
    """One photo or clip to work on.

    path: where it lies; None is standard input. stem: what its results are called, relative to the output
    folder and without an ending: `sub/photo`.
    """

    path: Path | None
    stem: Path

    @property
    def name(self) -> str:
        """What messages call it."""
        return "-" if self.path is None else str(self.path)

    @property
    def is_clip(self) -> bool:
        """Whether its name is that of a clip."""
        return self.path is not None and self.path.suffix.lower() in CLIP_SUFFIXES

    def read(self) -> Path | bytes:
        """Something that `load_image` takes."""
        return read_bounded(sys.stdin.buffer, "standard input") if self.path is None else self.path


def collect_inputs(words: Sequence[str], made: Collection[str] = ()) -> list[Input]:
    """The photos that the words mean, in their order, each file once.

    A folder and a glob keep their sub-folders in `stem`. Two photos of one folder that differ only in their
    ending keep it (`a.jpg`, `a.png`). made: endings of files that the command itself writes (`.overlay.png`);
    files with one of them are left out of folders and globs where the photo they were made of is there too,
    so that running a command twice does not work on its own results. Raises UsageError for a folder or a glob
    without photos, and for photos that would share a name. A file that is not there is no error here: it is
    one when it is read, and the others go on.
    """
    inputs: list[Input] = []
    seen: set[str] = set()
    for word in words:
        for found in _expand(word, made):
            key = "-" if found.path is None else _place(found.path)
            if key not in seen:
                seen.add(key)
                inputs.append(found)
    if not inputs:
        raise UsageError("no photos were given; name files, folders, globs, or - for standard input")
    return _with_own_names(inputs)


def _place(path: Path) -> str:
    """Where a file lies, however its folder is spelled; a link to a file is a photo of its own name."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def refuse_clashes(inputs: Iterable[Input], outputs: Iterable[Path], overwrite: bool) -> None:
    """UsageError if an output would replace a photo that is read, or a file that exists without
    `overwrite`."""
    sources = {os.path.realpath(each.path) for each in inputs if each.path is not None}
    existing: list[Path] = []
    for path in outputs:
        if os.path.lexists(path):
            if os.path.realpath(path) in sources:
                raise UsageError(
                    f"{path} is one of the inputs and would be written over; choose another --out folder"
                )
            existing.append(path)
    if existing and not overwrite:
        others = f" and {len(existing) - 1} more files exist" if len(existing) > 1 else " exists"
        raise UsageError(
            f"{existing[0]}{others} already; give --overwrite to replace, or another --out folder"
        )


def _expand(word: str, made: Collection[str]) -> list[Input]:
    if word == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("- reads a photo from standard input, which is a terminal; pipe a file into it")
        return [Input(None, Path("stdin"))]
    if not word.strip():
        raise UsageError("an empty name is no photo; was a variable of the shell not set?")
    path = Path(os.path.expanduser(word))
    if os.path.isdir(path):
        return _below(path, list_images(path), made, f"the folder {word} holds no photos")
    if not os.path.lexists(path) and any(sign in word for sign in _GLOB_SIGNS):
        pattern = os.path.expanduser(word)
        files = sorted(Path(match) for match in glob.glob(pattern, recursive=True) if os.path.isfile(match))
        folder = _fixed_part(Path(pattern))
        parts = Path(pattern).parts
        if "**" in parts:
            first = parts.index("**") - len(folder.parts)
            files = [file for file in files if not _through_link(file, folder, first)]
        return _below(folder, files, made, f"nothing matches {word}")
    return [Input(path, Path(path.stem))]


def _through_link(file: Path, folder: Path, first: int) -> bool:
    """Whether a folder between, from the ``first`` on, is a link: it may lead in a circle, and a search does
    not follow it."""
    between = file.relative_to(folder).parent.parts
    return any(os.path.islink(folder.joinpath(*between[: i + 1])) for i in range(first, len(between)))


def _below(folder: Path, files: list[Path], made: Collection[str], empty: str) -> list[Input]:
    photos = without_results(files, made)
    if not photos:
        raise UsageError(f"{empty}; check the path")
    return [Input(path, path.relative_to(folder).with_suffix("")) for path in photos]


def without_results(files: list[Path], made: Collection[str]) -> list[Path]:
    """The files without those whose ending is one of ``made`` and that were made of another of them."""
    stems = {path.with_suffix("") for path in files} | set(files)  # a.jpg.parts.png was made of a.jpg

    def is_result(path: Path) -> bool:
        endings = [ending for ending in made if path.name.endswith(ending)]
        return any(path.with_name(path.name[: -len(ending)]) in stems for ending in endings)

    return [path for path in files if not is_result(path)]


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first sign of a glob."""
    parts = pattern.parts[:-1]
    fixed = next((i for i, part in enumerate(parts) if any(sign in part for sign in _GLOB_SIGNS)), len(parts))
    return Path(*parts[:fixed])


def _with_own_names(inputs: list[Input]) -> list[Input]:
    """Stems that differ even where upper and lower case are the same (macOS, Windows)."""
    inputs = [
        replace(each, stem=each.stem.with_name(each.path.name)) if shared and each.path is not None else each
        for each, shared in zip(inputs, _shared(inputs), strict=True)
    ]
    for each, other in zip(inputs, _shared(inputs), strict=True):
        if other is not None:
            raise UsageError(
                f"{other.name} and {each.name} would write over each other's results; give the folder "
                "above both (its sub-folders are kept), or run them one by one with different --out folders"
            )
    return inputs


def _shared(inputs: list[Input]) -> list[Input | None]:
    """For each input another one with the same stem, or None."""
    groups: defaultdict[str, list[Input]] = defaultdict(list)
    for each in inputs:
        groups[str(each.stem).casefold()].append(each)
    return [
        next((other for other in groups[str(each.stem).casefold()] if other is not each), None)
        for each in inputs
    ]
