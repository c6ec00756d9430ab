"""What a run has computed before its steps, kept beside its state: seeing all photos takes as long as many
steps, and a resumed run need not do it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partswap.imaging.save import atomic_write
from partswap.training.run import Run


def kept(
    run: Run, number: int, sources: Iterable[Tensor | str], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What ``compute`` returns, or what it returned before the run was stopped.

    Args:
        number: of the round that it is for; sources: what it comes from besides the photos and their masks:
            weights, revisions of models; compute: returns tensors by name.

    Returns:
        the tensors, on the run's device. Nothing is used of a file that is damaged, or was made of something
        else. Raises what writing raises: PartswapError where the disk is full.
    """
    path = run.runner.state_file.with_name(f"part_maps-{number}.npz")
    masks = () if run.photos.masks is None else (run.photos.masks,)
    purpose = json.dumps([_digest((run.photos.images, *masks, *sources)), run.runner.options], sort_keys=True)
    found = _read(path, purpose) if run.options.resume else None
    if found is not None:
        run.runner.log.say("part maps: those of before the run was stopped")
        return {name: torch.from_numpy(value).to(run.device) for name, value in found.items()}
    made = compute()
    arrays = {name: value.cpu().numpy() for name, value in made.items()}
    told = np.array([purpose, *arrays])  # names too: a damaged directory of the file may lack one
    # not safetensors: part maps are mostly zero, and are a fiftieth when compressed
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, told=told, **arrays)  # type: ignore[arg-type]
    return made


def _digest(sources: Iterable[Tensor | str]) -> str:
    found = hashlib.sha256()
    for source in sources:
        if isinstance(source, str):
            found.update(source.encode())
        else:
            found.update(np.ascontiguousarray(source.detach().cpu().numpy()).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _read(path: Path, purpose: str) -> dict[str, NDArray[np.generic]] | None:
    """The arrays of a file that was written for ``purpose``, None if it cannot be read or was for something
    else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            written_for, *names = stored["told"].tolist()
            return {name: stored[name] for name in names} if written_for == purpose else None
    except Exception:  # damaged bytes have raised errors of seven classes, one of tokenize
        return None
