"""The models of this machine: those that came with partswap, and those in the hub client's cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partswap.checkpoint.card import card_license, card_scores, read_card
from partswap.checkpoint.files import REQUIRED
from partswap.checkpoint.format import Checkpoint, read_checkpoint
from partswap.checkpoint.hub_id import origin
from partswap.checkpoint.resolve import embedded_models
from partswap.errors import ModelError

__all__ = ["Entry", "describe", "known_models"]


@dataclass(frozen=True)
class Entry:
    """A model that `--model` finds. model: what to write there. size: bytes of its files. names: of its
    parts, each once. error: why it cannot be read, in which case there is nothing but model, kind and path.
    """

    model: str
    kind: str
    path: Path
    size: int = 0
    parts: int = 0
    names: tuple[str, ...] = ()
    license: str = ""
    revision: str = ""
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        if self.error is not None:
            return {"model": self.model, "kind": self.kind, "path": str(self.path), "error": self.error}
        values = {key: value for key, value in vars(self).items() if key != "error"}
        return {**values, "path": str(self.path), "names": list(self.names)}


def known_models() -> list[Entry]:
    """The embedded models, then the cached ones (every commit is one); no request is made."""
    embedded = [_entry(name, "embedded", path) for name, path in embedded_models().items()]
    return [*embedded, *(_entry(str(origin(path)), "cached", path) for path in _cached())]


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """All that a checkpoint says about itself, as JSON values."""
    config, path = checkpoint.config, checkpoint.path
    try:
        scores = card_scores(read_card(path))
    except ModelError:
        scores = []
    return {
        **checkpoint.identity,
        "path": str(path),
        "size": _size(path),
        "license": card_license(path),
        "parts": [{"id": part.id, "name": part.name} for part in checkpoint.parts],
        "input_long_side": config.input_long_side,
        "student": dict(config.student),
        "renderer": None if config.renderer is None else dict(config.renderer),
        "training": dict(config.training),
        "scores": scores,
        "files": sorted(entry.name for entry in path.iterdir() if entry.is_file()),
    }


def _entry(model: str, kind: str, path: Path) -> Entry:
    try:
        checkpoint = read_checkpoint(path)
    except ModelError as error:
        return Entry(model, kind, path, error=str(error))
    return Entry(
        model,
        kind,
        path,
        _size(path),
        len(checkpoint.parts),
        tuple(dict.fromkeys(checkpoint.parts.names)),
        card_license(path),
        checkpoint.revision,
    )


def _cached() -> Iterator[Path]:
    """The snapshots in the client's cache that look like checkpoints of ours; other programs' are passed
    over."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return
    for repo in sorted(found.repos, key=lambda each: each.repo_id):
        for revision in sorted(repo.revisions, key=lambda each: each.last_modified, reverse=True):
            path = Path(revision.snapshot_path)
            names = {file.file_name for file in revision.files}
            if origin(path) is not None and set(REQUIRED) <= names:
                yield path


def _size(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())
