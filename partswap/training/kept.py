"""What a run has computed before its steps, kept beside its state: seeing all photos takes as long as many
steps, and a resumed run need not do it again."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partswap.imaging.save import atomic_write
from partswap.training.run import Run

FILE = "part_maps.npz"
"""In the folder of the state; that of the round under way, which replaces the one before."""


def kept(run: Run, number: int, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What ``compute`` returns, or what it returned before the run was stopped.

    Args:
        number: of the round that it is for; compute: returns uint8 tensors by name, mostly zero: they are
            written compressed.

    Returns:
        the tensors, on the run's device. Of a file that is damaged, or another run's, nothing is used.
        Raises what writing raises: PartswapError where the disk is full.
    """
    path = run.runner.state_file.with_name(FILE)
    purpose = json.dumps({"round": number, **run.runner.options}, sort_keys=True)
    found = _read(path, purpose) if run.options.resume and path.exists() else None
    if found is not None:
        run.runner.log.say("part maps: those of before the run was stopped")
        return {name: torch.from_numpy(value).to(run.device) for name, value in found.items()}
    made = compute()
    arrays = {name: value.cpu().numpy() for name, value in made.items()}
    told = np.array([purpose, *arrays])  # names too: a damaged directory of the file may lack one
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, told=told, **arrays)  # type: ignore[arg-type]
    return made


def _read(path: Path, purpose: str) -> dict[str, NDArray[np.uint8]] | None:
    """The arrays of a file that was written for ``purpose``, None if it cannot be read or was for something
    else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            written_for, *names = stored["told"].tolist()
            return {name: stored[name] for name in names} if written_for == purpose else None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None  # RuntimeError: damage that looks like a password or another method of compression
