"""The file that holds what was found from near, and what a person says of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from partswap.checkpoint.format import Checkpoint
from partswap.distillation.near import Clusters
from partswap.errors import UsageError
from partswap.imaging.save import atomic_write
from partswap.parts import Parts

FORMAT = "partswap near 1"


@dataclass(frozen=True)
class Near:
    """Clusters, and which parts each may be.

    Attributes:
        kinds: bool (n, K); checkpoint: of the net whose features the clusters are in.
    """

    clusters: Clusters
    kinds: Tensor
    checkpoint: Checkpoint


def write_clusters(path: Path, clusters: Clusters) -> None:
    """Write what :func:`partswap.distillation.near.cluster` found."""
    told = {
        "format": FORMAT,
        "of": ",".join(map(str, clusters.of)),
        "revision": clusters.revision,
    }
    with atomic_write(path) as there:
        save_file({"centres": clusters.centres.contiguous()}, there, metadata=told)


def read_clusters(path: Path) -> Clusters:
    """Read it again; raises UsageError for any other file."""
    if not path.is_file():
        raise UsageError(f"--near: {path}: no such file; write it with `partswap parts near`.")
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            if told.get("format") != FORMAT:
                raise KeyError
            centres = file.get_tensor("centres")
            of = tuple(int(part) for part in told["of"].split(","))
            revision = told["revision"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"--near: {path} is no file that `partswap parts near` wrote.") from error
    if centres.ndim != 2 or centres.dtype != torch.float32 or not torch.isfinite(centres).all():
        raise UsageError(f"--near: {path} is damaged; write it again with `partswap parts near`.")
    return Clusters(of, centres, revision)


def parse_near(text: str, parts: Parts, known: Sequence[Checkpoint]) -> Near | None:
    """``FILE:1+2=head,3=neck`` -> clusters and what they are called, None for nothing; raises UsageError.

    Every cluster of the file is given a name, or an id, of ``parts``; they are counted from 1. With several,
    ``4=head+chest``, it is shared as the part map thinks of them. The clusters are in the features of one of
    the models ``known``.
    """
    if not text:
        return None
    file, colon, names = text.rpartition(":")
    if not colon or not file.strip():
        raise UsageError(f"--near is FILE:1+2=head,3=neck, a file of `partswap parts near`, not '{text}'.")
    clusters = read_clusters(Path(os.path.expanduser(file.strip())))
    if max(clusters.of) > len(parts):
        raise UsageError(f"--near: {file} is of a model with more parts than the {len(parts)} of this one.")
    number = len(clusters.centres)
    kinds = torch.zeros(number, len(parts), dtype=torch.bool)
    for word in filter(None, (word.strip() for word in names.split(","))):
        which, sign, name = word.partition("=")
        numbers = [int(one) if one.strip().isdecimal() else 0 for one in which.split("+")]
        if not sign or not all(1 <= one <= number for one in numbers):
            raise UsageError(f"--near: '{word}' is not NUMBERS=NAME, such as 1+2=head, from 1 to {number}.")
        ids = parts.parse([name] if name.strip() in parts.names else name.split("+"))
        for one in numbers:
            if kinds[one - 1].any():
                raise UsageError(f"--near: {one} is named twice.")
            kinds[one - 1, [part - 1 for part in ids]] = True
    unnamed = [str(i + 1) for i, row in enumerate(kinds) if not row.any()]
    if unnamed:
        raise UsageError(f"--near: {', '.join(unnamed)} of 1 to {number} have no name yet; see its sheet.")
    for checkpoint in known:
        if checkpoint.revision == clusters.revision:
            return Near(clusters, kinds, checkpoint)
    raise UsageError(
        f"--near: {file} was found by the model {clusters.revision}; refine that, or make it the --teacher."
    )
