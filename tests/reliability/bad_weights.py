"""Bad `model.safetensors` files, made from a good one by hand, without the library that reads them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cases import EITHER, REFUSED

__all__ = ["weights_cases"]

CUTS = (0.001, 0.1, 0.5, 0.99)


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: list[int]
    data: bytes


def weights_cases(whole: bytes) -> Iterator[tuple[str, bytes, str, str]]:
    """Name, content, what is wrong with it, what is expected."""
    tensors = _read(whole)
    for name, (changed, about) in _changed(tensors).items():
        yield name, _written(changed), about, REFUSED
    yield "extreme", _written(_filled(tensors, "F32", 3e38)), "the largest numbers there are", EITHER
    yield "renderer-nan", _written(_spoiled(tensors, "renderer.", float("nan"))), "NaN, renderer only", EITHER
    without = {name: t for name, t in tensors.items() if not name.startswith("renderer.")}
    yield "renderer-missing", _written(without), "no renderer, which config.json promises", EITHER
    for name, (content, about) in {**_headers(), **_impostors(whole)}.items():
        yield name, content, about, REFUSED


def _changed(tensors: dict[str, _Tensor]) -> dict[str, tuple[dict[str, _Tensor], str]]:
    kernel = next(n for n, t in tensors.items() if n.startswith("student.") and len(t.shape) == 4)
    vector = next(n for n, t in tensors.items() if n.startswith("student.") and len(t.shape) == 1)
    one = tensors[kernel]
    half = replace(one, shape=[one.shape[0] // 2, *one.shape[1:]], data=one.data[: len(one.data) // 2])
    bits = {"F16": "I16", "F32": "I32"}
    turned = {n: replace(t, dtype=bits.get(t.dtype, t.dtype)) for n, t in tensors.items()}
    bools = {n: replace(t, dtype="BOOL", shape=[len(t.data)]) for n, t in tensors.items()}
    return {
        "nan": (_spoiled(tensors, "student.", float("nan")), "NaN in one tensor"),
        "inf": (_spoiled(tensors, "student.", float("inf")), "infinity in one tensor"),
        "shape": ({**tensors, kernel: replace(one, shape=one.shape[::-1])}, "a kernel turned round"),
        "flat": ({**tensors, kernel: replace(one, shape=[_count(one)])}, "a kernel laid flat"),
        "half": ({**tensors, kernel: half}, "half a kernel"),
        "missing": ({n: t for n, t in tensors.items() if n != vector}, "a tensor missing"),
        "extra": ({**tensors, "student.extra": one}, "a tensor too many"),
        "renamed": ({n.upper(): t for n, t in tensors.items()}, "names in capitals"),
        "renderer-only": ({n: t for n, t in tensors.items() if n[:2] == "re"}, "no student at all"),
        "none": ({}, "no tensors at all"),
        "integers": (turned, "whole numbers for weights"),
        "bools": (bools, "yes and no for weights"),
    }


def _headers() -> dict[str, tuple[bytes, str]]:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

    def one(data: int = 8, **change: Any) -> bytes:
        return _framed(json.dumps({"student.a": {**entry, **change}}).encode()) + bytes(data)

    two = {"student.a": entry, "student.b": {**entry, "data_offsets": [4, 12]}}
    gap = {"student.a": entry, "student.b": {**entry, "data_offsets": [16, 24]}}
    twice = b'{"student.a":%b,"student.a":%b}' % (json.dumps(entry).encode(), json.dumps(entry).encode())
    ten = 10 * 10**9
    return {
        "header-huge": (struct.pack("<Q", 1 << 62) + b"{}", "a header of 2^62 bytes"),
        "header-long": (struct.pack("<Q", 5000) + b"{}", "a header longer than the file"),
        "header-5m": (_framed(b"{" + b" " * (5 << 20) + b"}"), "a header of 5 MiB of blanks"),
        "header-words": (_framed(b"{nonsense}"), "a header that is no JSON"),
        "header-list": (_framed(b"[]"), "a list for a header"),
        "header-deep": (_framed(b'{"a":' * 100_000), "100000 nested objects in the header"),
        "header-bytes": (_framed(b'{"\xff\xfe":1}'), "a header that is no text"),
        "header-null": (_framed(b'{"student.a":null}'), "null for a tensor"),
        "overlap": (_framed(json.dumps(two).encode()) + bytes(12), "overlapping tensors"),
        "gap": (_framed(json.dumps(gap).encode()) + bytes(24), "a hole between tensors"),
        "twice": (_framed(twice) + bytes(8), "one name twice"),
        "beyond": (one(data_offsets=[0, 4096]), "offsets beyond the file"),
        "backwards": (one(data_offsets=[8, 0]), "offsets that run backwards"),
        "below": (one(data_offsets=[-8, 0]), "offsets below zero"),
        "float": (one(data_offsets=[0.0, 8.0]), "offsets that are no whole numbers"),
        "shape-below": (one(shape=[-2]), "a shape below zero"),
        "shape-overflow": (one(shape=[1 << 62, 4]), "a shape whose product overflows"),
        "shape-deep": (one(shape=[1] * 5000 + [2]), "5001 dimensions"),
        "dtype": (one(dtype="PICKLE"), "an unknown type"),
        "claim-10g": (one(shape=[50_000, 50_000], data_offsets=[0, ten]), "a claim of 10 GB"),
        "metadata": (_framed(b'{"__metadata__":{"a":{"b":1}}}'), "nested metadata"),
    }


def _impostors(whole: bytes) -> dict[str, tuple[bytes, str]]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"a": [1]}))
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6142\n"
    found = {
        "empty": (b"", "no bytes"),
        "short": (whole[:7], "seven bytes"),
        "zeros": (bytes(4096), "zero bytes"),
        "text": (b"hello, these are no weights\n" * 9, "text"),
        "pickle": (pickle.dumps({"a": [1, 2]}), "a pickle under this name"),
        "pickle-0": (b"cos\nsystem\n(S'echo ran'\ntR.", "an old pickle that would run a command"),
        "torch": (archive.getvalue(), "a torch archive under this name"),
        "lfs": (lfs, "what git leaves where large files were not fetched"),
        "tail": (whole + b"\0", "one byte too many"),
        "cut-1": (whole[:-1], "one byte too few"),
    }
    for cut in CUTS:
        found[f"cut-{cut:.1%}"] = (whole[: int(len(whole) * cut)], f"cut off at {cut:.1%}")
    return found


def _spoiled(tensors: dict[str, _Tensor], prefix: str, value: float) -> dict[str, _Tensor]:
    name = next(n for n, t in tensors.items() if n.startswith(prefix) and t.dtype == "F32" and t.data)
    data = tensors[name].data
    return {**tensors, name: replace(tensors[name], data=data[:-4] + struct.pack("<f", value))}


def _filled(tensors: dict[str, _Tensor], dtype: str, value: float) -> dict[str, _Tensor]:
    return {
        n: replace(t, data=struct.pack("<f", value) * (len(t.data) // 4)) if t.dtype == dtype else t
        for n, t in tensors.items()
    }


def _count(tensor: _Tensor) -> int:
    return len(tensor.data) // (2 if tensor.dtype == "F16" else 4)


def _framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _read(whole: bytes) -> dict[str, _Tensor]:
    length = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    header.pop("__metadata__", None)
    return {n: _Tensor(e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for n, e in header.items()}


def _written(tensors: dict[str, _Tensor]) -> bytes:
    header, at = {}, 0
    for name, tensor in tensors.items():
        end = at + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end
    return _framed(json.dumps(header).encode()) + b"".join(t.data for t in tensors.values())
