"""Where the ONNX graphs of a checkpoint lie: in its folder, or in the user's cache. Nothing here needs torch.

A graph says in its metadata which weights and which preprocessing it was made from (`graph_key`); one that
says something else is not used. What a graph in a folder may contain is looked at by `trust`.
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
    """The graph in the checkpoint's folder and the one in the cache, those that exist, in the order of use.

    Of what comes from the hub only safetensors and JSON are opened, so a graph that another program may have
    put into the hub's cache is passed over.
    """
    own = [checkpoint.path / GRAPH_FILES[which]] if checkpoint.hub is None else []
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
