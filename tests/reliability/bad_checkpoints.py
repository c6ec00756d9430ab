"""Bad and hostile checkpoints, the same ones every time: `write_bad_checkpoints(folder, good)`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bad_graphs import graph_cases
from bad_weights import weights_cases
from cases import EITHER, FINE, REFUSED, Case

__all__ = ["MODEL_WORDS", "write_bad_checkpoints"]

MODEL_WORDS = (
    "",
    "nowhere",
    "../../nowhere",
    "owner/../../x",
    "owner/name@../../x",
    "owner/na..me",
    "a/b/c",
    "https://example.invalid/owner/name",
    "~nobody-of-this-name/model",
    "own er/name",
    "x" * 5000,
)
"""What may not be looked up anywhere, after `--model`."""

Item = tuple[str, Callable[[Path], object], str, str]
"""Name, what turns a good checkpoint in that folder into a bad one, what is wrong, what is expected."""


def write_bad_checkpoints(folder: Path, good: Path) -> list[Case]:
    """Write the corpus into an existing folder, all from the checkpoint `good`, and return what it holds."""
    cases = []
    for name, spoil, about, expected in _items(good):
        place = folder / name
        place.mkdir()
        for part in ("config.json", "parts.json", "model.safetensors", "README.md"):
            _share(good / part, place / part)
        try:
            spoil(place)
        except (OSError, NotImplementedError, AttributeError):  # not every system has every kind of file
            shutil.rmtree(place, ignore_errors=True)
            continue
        cases.append(Case(name, about, expected))
    return sorted(cases, key=lambda case: case.name)


def _items(good: Path) -> Iterator[Item]:
    for name, content, about, expected in weights_cases((good / "model.safetensors").read_bytes()):
        yield f"weights-{name}", _putting("model.safetensors", content), about, expected
    yield from _sparse()
    yield from _configs(json.loads((good / "config.json").read_text()))
    yield from _parts(json.loads((good / "parts.json").read_text()))
    for file in ("config.json", "parts.json"):
        yield from _broken_json(file)
    for file in ("config.json", "parts.json", "model.safetensors"):
        yield from _places(file)
    yield from _whole_folders()
    for name, spoil, about, expected in graph_cases():
        yield f"graph-{name}", spoil, about, expected


def _sparse() -> Iterator[Item]:
    """Files that are large only by their length."""

    def claim(size: int) -> Callable[[Path], None]:
        def spoil(place: Path) -> None:
            entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
            header = json.dumps({"student.blob": entry}).encode()
            _put(place / "model.safetensors", len(header).to_bytes(8, "little") + header)
            os.truncate(place / "model.safetensors", 8 + len(header) + size)

        return spoil

    yield "weights-sparse-10g", claim(10 * 10**9), "a sparse file of 10 GB, its header in order", REFUSED
    yield "weights-sparse-3g", claim(3 * 10**9), "a sparse file of 3 GB, its header in order", REFUSED


def _configs(data: dict[str, Any]) -> Iterator[Item]:
    student, renderer = data["student"], data["renderer"] or {}
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "format": ({"format": 2}, "a newer format"),
        "format-text": ({"format": "1"}, "a format in words"),
        "name-path": ({"name": "../../evil"}, "a path for a name"),
        "name-line": ({"name": "a\nb"}, "a line break in the name"),
        "name-list": ({"name": ["x"]}, "a list for a name"),
        "parts-0": ({"parts": 0}, "no parts"),
        "parts-255": ({"parts": 255}, "255 parts"),
        "parts-more": ({"parts": data["parts"] + 1}, "one part more than its nets"),
        "parts-huge": ({"parts": 10**30}, "10^30 parts"),
        "parts-float": ({"parts": float(data["parts"])}, "a float for parts"),
        "size-huge": ({"size": [10**9, 10**9]}, "a frame of 10^9 x 10^9"),
        "size-empty": ({"size": []}, "no frame"),
        "side-huge": ({"input_long_side": 10**9}, "an input of 10^9 pixels"),
        "side-4096": ({"input_long_side": 4096}, "an input that takes minutes"),
        "side-0": ({"input_long_side": 0}, "an input of no pixels"),
        "multiple-1": ({"multiple": 1}, "a stride that the net does not have"),
        "multiple-7": ({"multiple": 7}, "an odd stride"),
        "multiple-huge": ({"multiple": 10**9}, "a stride of 10^9"),
        "std-0": ({"std": [0, 0, 0]}, "a deviation of zero"),
        "std-tiny": ({"std": [1e-300] * 3}, "a deviation that float32 rounds to zero"),
        "mean-huge": ({"mean": [1e300] * 3}, "a mean beyond float32"),
        "mean-text": ({"mean": "abc"}, "letters for a mean"),
        "student-null": ({"student": None}, "no student"),
        "student-list": ({"student": []}, "a list for the student"),
        "student-nested": ({"student": {**student, "x": {"y": 1}}}, "a nested value"),
        "student-many": ({"student": {**student, **{f"k{i}": 1 for i in range(99)}}}, "99 values"),
        "renderer-list": ({"renderer": []}, "a list for the renderer"),
        "training-list": ({"training": []}, "a list for the record"),
    }
    for backbone, about in {
        "hf-hub:someone/evil": "a backbone from the hub",
        "local-dir:/etc": "a backbone from a folder",
        "../../evil": "a path for a backbone",
        "nothing_of_this_name": "an unknown backbone",
        "resnet50.no_such_tag": "an unknown tag of a backbone",
        "resnet18": "another backbone",
        "vit_giant_patch14_dinov2": "a backbone of a billion weights",
        "eva02_enormous_patch14_clip_224": "a backbone of 4 billion weights",
        "x" * 5000: "a backbone's name of 5000 letters",
    }.items():
        key = f"backbone-{len(changes)}"
        changes[key] = ({"student": {**student, "backbone": backbone}}, about)
    for width in (0, -1, 1, 1.5, 4096, 10**12, "wide", None):
        changes[f"width-{width}"] = ({"student": {**student, "width": width}}, f"a width of {width}")
        if renderer:
            changed = {"renderer": {**renderer, "width": width}}
            yield from _config(
                data, f"renderer-width-{width}", changed, f"a renderer's width of {width}", EITHER
            )
    for name, (change, about) in changes.items():
        yield from _config(data, name, change, about)
    wild = {"training": {"a\n": [[1e308, "名" * 9999]]}}
    yield from _config(data, "training-wild", wild, "a wild record", FINE)
    yield from _config(data, "training-half", {"training": {"a": "\ud800"}}, "half a character in the record")
    lacking = {key: value for key, value in data.items() if key != "student"}
    yield "config-lacks-student", _putting("config.json", json.dumps(lacking).encode()), "no student", REFUSED


def _config(
    data: dict[str, Any], name: str, change: dict[str, Any], about: str, expected: str = REFUSED
) -> Iterator[Item]:
    text = json.dumps({**data, **change}).encode()
    yield f"config-{name}", _putting("config.json", text), about, expected


def _parts(data: dict[str, Any]) -> Iterator[Item]:
    def changed(item: str, about: str, expected: str = REFUSED, **change: Any) -> Item:
        parts = [{**data["parts"][0], **change}, *data["parts"][1:]]
        return f"parts-{item}", _putting("parts.json", _json(data, parts)), about, expected

    for number, name in enumerate(
        ("../../x", "/etc/x", "..", "a\0b", "C:x", "a\\b", "x" * 300, "", " ", "-x", ".x", "a.png", "a\nb")
    ):
        yield changed(f"name-{number:02d}", f"a part called {name[:12]!r}", name=name)
    for number, name in enumerate(("all", "background", "overlay", "7", "\u202egnp", "\ud800", "a\u0301")):
        yield changed(f"name-{20 + number}", f"a part called {name!a}", name=name)
    yield changed("name-many-scripts", "letters of many scripts", FINE, name="名🦊 ärm")
    yield changed("name-markup", "what a terminal library takes for markup", FINE, name="[red]arm[bold]")
    yield changed("name-device", "a name that Windows keeps for itself", FINE, name="con")
    for number, value in enumerate((None, 7, ["arm"], {"a": 1})):
        yield changed(f"name-type-{number}", f"a name of type {type(value).__name__}", name=value)
    for number, value in enumerate((0, 2, -1, 1.0, True, "1", None, 10**40)):
        yield changed(f"id-{number}", f"an id of {str(value)[:9]} where 1 belongs", id=value)
    for number, value in enumerate(([0, 0], [0, 0, 256], [-1, 0, 0], [0.5, 0, 0], "red", [[1]] * 3)):
        yield changed(f"color-{number}", f"a colour of {value}", color=value)
    entries = data["parts"]
    lists = {
        "fewer": (entries[:-1], "one part fewer than its config"),
        "more": ([*entries, {**entries[0], "id": len(entries) + 1}], "one part more than its config"),
        "none": ([], "no parts"),
        "300": ([{**entries[0], "id": i + 1} for i in range(300)], "300 parts"),
        "order": (entries[::-1], "ids in the wrong order"),
        "twice": ([entries[0], *entries[:-1]], "an id twice"),
        "texts": (["arm"] * len(entries), "texts for parts"),
        "null": (None, "null for parts"),
    }
    for name, (parts, about) in lists.items():
        yield f"parts-list-{name}", _putting("parts.json", _json(data, parts)), about, REFUSED
    case = [{**e, "name": "Arm" if e["id"] == 1 else "arm"} for e in entries]
    yield "parts-case", _putting("parts.json", _json(data, case)), "names that differ in case only", REFUSED


def _broken_json(file: str) -> Iterator[Item]:
    stem = file.split(".", maxsplit=1)[0]
    texts = {
        "empty": (b"", "no bytes"),
        "list": (b"[]", "a list"),
        "number": (b"7", "a number"),
        "nan": (b'{"format": 1, "parts": NaN}', "NaN"),
        "deep": (b"[" * 100_000, "100000 open brackets"),
        "deep-object": (b'{"a":' * 100_000, "100000 nested objects"),
        "large": (b" " * (2 << 20) + b"{}", "2 MiB of blanks"),
        "bytes": (b"\xff\xfe\xfd", "bytes that are no text"),
        "digits": (b'{"format": ' + b"1" * 100_000 + b"}", "a number of 100000 digits"),
        "cut": (b'{"format": 1, "pa', "cut off"),
        "pickle": (b"\x80\x04}q\0.", "a pickle"),
    }
    for name, (text, about) in texts.items():
        yield f"{stem}-json-{name}", _putting(file, text), f"{file}: {about}", REFUSED


def _places(file: str) -> Iterator[Item]:
    stem = file.split(".", maxsplit=1)[0]

    def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
        def spoil(place: Path) -> None:
            (place / file).unlink()
            make(place / file)

        return spoil

    makers: dict[str, tuple[Callable[[Path], object], str]] = {
        "missing": (lambda path: None, "missing"),
        "folder": (lambda path: path.mkdir(), "a folder"),
        "dangling": (lambda path: path.symlink_to("nowhere"), "a link to nothing"),
        "loop": (lambda path: path.symlink_to(path.name), "a link to itself"),
        "pipe": (lambda path: os.mkfifo(path), "a named pipe"),
        "device": (lambda path: path.symlink_to("/dev/zero"), "a link to an endless device"),
        "outside": (lambda path: path.symlink_to("/etc/hostname"), "a link to a file of the system"),
        "locked": (lambda path: (path.write_bytes(b"{}"), path.chmod(0)), "a file that may not be read"),
    }
    for name, (make, about) in makers.items():
        yield f"{stem}-at-{name}", instead(make), f"{file}: {about}", REFUSED


def _whole_folders() -> Iterator[Item]:
    def pickled(place: Path) -> None:
        (place / "model.safetensors").rename(place / "pytorch_model.bin")

    def linked(place: Path) -> None:
        inner = place / "model.safetensors"
        inner.rename(place / "blob")
        inner.symlink_to("blob")

    def emptied(place: Path) -> None:
        shutil.rmtree(place)
        place.mkdir()

    def filed(place: Path) -> None:
        shutil.rmtree(place)
        place.write_bytes(b"I am a file")

    evil = b"raise SystemExit('ran')"
    yield "folder-pickled", pickled, "weights under a pickle's name only", REFUSED
    yield "folder-empty", emptied, "an empty folder", REFUSED
    yield "folder-file", filed, "a file where a folder belongs", REFUSED
    yield "folder-linked", linked, "weights behind a link, as in the hub's cache", FINE
    yield "folder-code", _putting("modeling.py", evil), "code beside good weights", FINE
    yield "folder-pickle-too", _putting("pytorch_model.bin", b"\x80\x04cos\nsystem\n"), "a pickle too", EITHER


def _json(data: dict[str, Any], parts: object) -> bytes:
    return json.dumps({**data, "parts": parts}).encode()


def _putting(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda place: _put(place / file, content)


def _put(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # it may be a link to the good one's
    path.write_bytes(content)


def _share(good: Path, place: Path) -> None:
    with suppress(OSError):
        os.link(good, place)
        return
    shutil.copyfile(good, place)
