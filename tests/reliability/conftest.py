"""The corpus of bad files, made once; its modules import each other by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="session")
def bad_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder, and what it holds."""
    from bad_images import write_bad_images

    folder = tmp_path_factory.mktemp("bad-images")
    return folder, _lockable(folder, write_bad_images(folder))


@pytest.fixture(scope="session")
def bad_checkpoints(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Any]]:
    """The folder, and what it holds."""
    from bad_checkpoints import write_bad_checkpoints

    folder = tmp_path_factory.mktemp("bad-checkpoints")
    return folder, _lockable(folder, write_bad_checkpoints(folder, tiny_checkpoint))


def _lockable(folder: Path, cases: list[Any]) -> list[Any]:
    """Root may read what nobody else may: nothing is locked for it, so those files are taken away."""
    if not AS_ROOT:
        return cases
    for case in cases:
        if case.name == "locked.png":
            (folder / case.name).unlink()
    return [case for case in cases if "locked" not in case.name]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody writes to is given up at once."""
    monkeypatch.setattr("partswap.imaging.opening._PATIENCE", 0.05)
