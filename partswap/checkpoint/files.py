"""Reading a checkpoint's files without trusting them: bounded JSON, a safetensors header, a hash."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NoReturn

from partswap.errors import ModelError

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "MAX_JSON",
    "MAX_WEIGHTS",
    "PARTS_FILE",
    "REQUIRED",
    "SHARED",
    "VERIFICATION_FILE",
    "WEIGHTS_FILE",
    "check_weights",
    "git_sha1",
    "pickles_among",
    "read_json",
    "sha256",
]

CONFIG_FILE = "config.json"
PARTS_FILE = "parts.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
VERIFICATION_FILE = "verification.json"
REQUIRED = (CONFIG_FILE, PARTS_FILE, WEIGHTS_FILE)
"""What every checkpoint has."""
SHARED = (*REQUIRED, CARD_FILE, VERIFICATION_FILE)
"""What goes to the hub and comes from it; never a graph, which a stranger could have made from anything."""

MAX_JSON = 1 << 20
MAX_WEIGHTS = 1 << 30  # 500 million weights; reading more for its hash would take longer than anyone waits
_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"}
_MAX_HEADER = 4 << 20
_MAX_DIMENSIONS = 8


def read_json(path: Path) -> object:
    """The parsed file; ModelError if it is missing, over 1 MiB, not JSON, nested absurdly, or holds NaN or
    Infinity."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON + 1)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if len(raw) > MAX_JSON:
        raise ModelError(f"{path} is larger than {MAX_JSON >> 20} MiB, which no checkpoint needs")
    try:
        parsed = json.loads(raw, parse_constant=_refuse_constant)
        json.dumps(parsed, ensure_ascii=False).encode()  # halves of characters could never be written again
        return parsed
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON ({str(error)[:80]})") from error


def check_weights(path: Path) -> None:
    """ModelError unless `path` is a whole safetensors file of bounded size: not a pickle, and its header
    describes exactly the bytes that follow it. No tensor is read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ModelError(f"{path} is a pickle under another name; partswap reads only real safetensors files")
    length = struct.unpack("<Q", head[:8])[0] if len(head) == 9 else 0
    if not 2 <= length <= size - 8 or head[8:] != b"{":
        raise ModelError(
            f"{path} is not a whole safetensors file (truncated, or something else); fetch it again"
        )
    if length > _MAX_HEADER or size > MAX_WEIGHTS:
        raise ModelError(
            f"{path} is refused: its header ({length} bytes) or its size ({size} bytes) is absurd"
        )
    _check_header(path)


def _check_header(path: Path) -> None:
    """The library compares names, types, shapes and offsets with the file when it opens it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            ranks = {name: len(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({str(error)[:120]}); fetch it again") from error
    deep = next((name for name, rank in ranks.items() if rank > _MAX_DIMENSIONS), None)
    if deep is not None:
        raise ModelError(f"{path} is refused: {deep[:80]!r} has {ranks[deep]} dimensions")


def sha256(path: Path) -> str:
    """The file's SHA-256, 64 hex digits; ModelError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def git_sha1(path: Path) -> str:
    """The SHA-1, 40 hex digits, under which git and the hub know a small file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def pickles_among(names: Iterable[str]) -> list[str]:
    """Those of the file names that pickled weights go by, sorted."""
    return sorted(name for name in names if PurePosixPath(name).suffix.lower() in _PICKLES)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
