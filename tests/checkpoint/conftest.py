"""The command line against the hub on loopback.

Every command runs in a process of its own, because the client reads its environment when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tiny_checkpoint: Path) -> dict[str, bytes]:
    """A repository with a checkpoint, and with much that nobody needs."""
    own = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    more = {"model.onnx": b"a stranger's graph", "notes/config.json": b"{}", "video.mp4": b"\0" * 1000}
    return {**own, ".gitattributes": b"*.safetensors filter=lfs\n", **more}


@pytest.fixture
def environment(hub: Any, tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    # a proxy of the machine's own must not see requests to loopback
    return {**kept, **own, "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Done:
    """What a command left: exit code, stdout, stderr, and the requests that it made."""

    def __init__(self, code: int, out: str, err: str, requests: list[Any]) -> None:
        self.code, self.out, self.err, self.requests = code, out, err, requests

    def refused(self, *words: str) -> None:
        """Exit 3, nothing on stdout, and one sentence on stderr with these words."""
        assert self.code == 3, self.err
        assert not self.out
        sentences = [line for line in self.err.splitlines() if not line.startswith("fetching ")]
        assert len(sentences) == 1, self.err
        assert sentences[0].startswith("error: ")
        assert all(word in sentences[0] for word in words), sentences[0]
        assert "Traceback" not in self.err


@pytest.fixture
def done_type() -> type[Done]:
    return Done


@pytest.fixture
def partswap(hub: Any, environment: dict[str, str]) -> Callable[..., Done]:
    """Run `partswap WORDS...`; keywords are environment variables, None takes one away."""

    def run(*words: object, **changed: str | None) -> Done:
        env = {key: value for key, value in {**environment, **changed}.items() if value is not None}
        before = len(hub.requests)
        command = [sys.executable, "-m", "partswap", *map(str, words)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
        return Done(done.returncode, done.stdout, done.stderr, hub.requests[before:])

    return run
