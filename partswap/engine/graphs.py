"""Where the ONNX graphs of a checkpoint lie: with an embedded model, or in the user's cache. Nothing here
needs torch.

A graph says in its metadata which weights and which preprocessing it was made from (`graph_key`); one that
says something else is not used. What it says can be forged, and standard operators alone can ask for all
memory there is; so a graph in any other folder, which may come from a stranger, is never opened. The cache
holds what was made here, from weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

__all__ = ["GRAPH_FILES", "cache_folder", "cached_graph", "graph_key", "graphs_there"]

GRAPH_FILES = {"student": "model.onnx", "renderer": "renderer.onnx"}
"""Which net -> its graph's name in a checkpoint folder."""

_VERSION = 2
"""Raised when partswap writes graphs in another way, so that old ones in caches are left alone."""


def graph_key(checkpoint: Checkpoint, which: str = "student") -> str:
    """Names the graph: the weights' revision, and 8 hex digits of all else that goes into it."""
    config = checkpoint.config
    net = dict(getattr(config, which))
    rest = [_VERSION, which, net, list(config.mean), list(config.std), config.multiple]
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return f"{checkpoint.revision}-{digest[:8]}"


def cached_graph(checkpoint: Checkpoint, which: str = "student") -> Path:
    """The graph in the user's cache, whether it is there or not."""
    return cache_folder() / "graphs" / f"{graph_key(checkpoint, which)}.onnx"


def graphs_there(checkpoint: Checkpoint, which: str = "student") -> list[Path]:
    """The graph that came with an embedded model and the one in the cache, those that exist, in the order of
    use."""
    from partswap.checkpoint import is_embedded

    own = [checkpoint.path / GRAPH_FILES[which]] if is_embedded(checkpoint.path) else []
    places = (*own, cached_graph(checkpoint, which))
    return [path for path in places if path.is_file()]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/partswap`, or where this system keeps what can be made again."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "partswap"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "partswap"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "partswap" / "cache"
    return Path.home() / ".cache" / "partswap"
