"""From what a person writes after `--model` to a checkpoint folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from partswap.checkpoint.files import CONFIG_FILE
from partswap.checkpoint.hub_id import parse_hub_id
from partswap.errors import ModelError

__all__ = ["DEFAULT_MODEL", "embedded_models", "is_embedded", "resolve_model"]

DEFAULT_MODEL = "people"

_EMBEDDED_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def embedded_models() -> dict[str, Path]:
    """The models that came with this partswap, by name: `partswap/weights/` once installed, `weights/` in a
    checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "weights", package.parent / "weights"):
        if folder.is_dir():
            found = sorted(p for p in folder.iterdir() if (p / CONFIG_FILE).is_file())
            return {p.name: p for p in found if _EMBEDDED_NAME.fullmatch(p.name)}
    return {}


def is_embedded(path: Path) -> bool:
    """Whether the checkpoint folder `path` is one that came with partswap (it must not be changed in
    place)."""
    return any(os.path.realpath(path) == os.path.realpath(known) for known in embedded_models().values())


def resolve_model(model: str | os.PathLike[str] | None = None, quiet: bool = False) -> Path:
    """The checkpoint folder for a folder, the name of an embedded model, or a hub id `owner/name[@revision]`.

    None is the embedded default. A folder that `partswap train` made (its checkpoint is in `model/`)
    will do. A hub id is taken from the cache, or downloaded, with progress on stderr unless `quiet`. Raises
    ModelError with what was looked for.
    """
    text = DEFAULT_MODEL if model is None else os.fspath(model)
    if not text or "\0" in text:
        raise ModelError(
            "the model has no name; give a folder, an embedded name, or a hub id owner/name[@revision]"
        )
    embedded = embedded_models()
    if model is None and text not in embedded:
        raise ModelError(
            "the embedded model is missing from this installation; reinstall it, or give --model a folder"
        )
    folder = Path(os.path.expanduser(text))
    if model is None or (text in embedded and not os.path.isfile(folder / CONFIG_FILE)):
        return embedded[text]
    if os.path.isdir(folder):
        nested = folder / "model"
        bare = not os.path.exists(folder / CONFIG_FILE)
        return nested if bare and os.path.isfile(nested / CONFIG_FILE) else folder
    if os.path.exists(folder):
        raise ModelError(
            f"{text} is a file; a model is a folder with config.json, parts.json and model.safetensors"
        )

    hub_id = parse_hub_id(text)
    if hub_id is None:
        names = ", ".join(embedded) or "none"
        raise ModelError(
            f"there is no model {text[:200]!r}: no such folder, no such embedded model (there is: {names}), "
            "and it is not a hub id like owner/name or owner/name@revision"
        )
    from partswap.checkpoint.hub import fetch

    return fetch(hub_id, quiet)
