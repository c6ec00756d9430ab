"""A checkpoint: a folder with `config.json`, `parts.json`, `model.safetensors`, `README.md`, optionally
`verification.json` and `model.onnx`.

Only JSON and safetensors are ever read, always under the fixed names above, so nothing that a checkpoint says
can name a file, and no code of its author runs.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from partswap.checkpoint.config import Config
from partswap.checkpoint.files import (
    CARD_FILE,
    CONFIG_FILE,
    PARTS_FILE,
    REQUIRED,
    VERIFICATION_FILE,
    WEIGHTS_FILE,
    check_weights,
    pickles_among,
    read_json,
    sha256,
)
from partswap.checkpoint.hub_id import HubId, origin
from partswap.errors import ModelError, PartswapError, UsageError
from partswap.imaging.save import atomic_write, is_left_over
from partswap.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Checkpoint", "read_checkpoint", "write_checkpoint", "write_closer", "write_parts"]

_KNOWN_FILES = {*REQUIRED, CARD_FILE, VERIFICATION_FILE, "model.onnx", "renderer.onnx"}
_ASIDE = "checkpoint"  # an older folder's name while a new one takes its place
_NETS = ("student.", "renderer.")


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk, read but not loaded.

    revision: the first 12 hex digits of the SHA-256 of `model.safetensors`, so equal weights have equal
    revisions.
    """

    path: Path
    config: Config
    parts: Parts
    revision: str

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS_FILE

    @property
    def hub(self) -> HubId | None:
        """The repository and commit that the checkpoint was downloaded from; None for one that was not."""
        return origin(self.path)

    @property
    def identity(self) -> dict[str, str]:
        """What names the model in records: model (its name), revision (of its weights), and for one from the
        hub also hub (`owner/name`) and commit."""
        named = {"model": self.config.name, "revision": self.revision}
        hub = self.hub
        return named if hub is None else {**named, "hub": hub.repo, "commit": str(hub.revision)}

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix` (`"student."`, `"renderer."`), without it; floats as
        float32.

        Raises ModelError for a damaged file or one with tensors of no net, and names the tensors that hold
        NaN or infinite values.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        tensors: dict[str, Tensor] = {}
        try:
            with safe_open(self.weights, framework="pt", device="cpu") as file:
                names = list(file.keys())
                for key in names:
                    if key.startswith(prefix):
                        tensor = file.get_tensor(key)
                        tensors[key[len(prefix) :]] = tensor.float() if tensor.is_floating_point() else tensor
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"{self.weights} is damaged ({str(error)[:120]}); fetch it again") from error
        foreign = [name for name in names if not name.startswith(_NETS)]
        if foreign:
            raise ModelError(f"{self.weights} holds tensors of no net of ours: {_some(foreign)}")
        bad = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
        if bad:
            raise ModelError(f"{self.weights} holds NaN or infinite values in {_some(bad)}")
        return tensors


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in folder `path`; everything but the tensors' values is checked. Raises ModelError."""
    folder = Path(path)
    if not os.path.isdir(folder):
        raise ModelError(f"there is no checkpoint folder at {folder}")
    try:
        _look_over(folder)
    except OSError as error:
        raise ModelError(f"cannot read {folder}: {error.strerror or error}; check its permissions") from error
    return _read(folder)


def _look_over(folder: Path) -> None:
    """ModelError unless all files that a checkpoint needs are there."""
    if not (folder / WEIGHTS_FILE).is_file():
        pickles = pickles_among(entry.name for entry in folder.iterdir())
        if pickles:
            raise ModelError(
                f"{folder} holds {_some(pickles)} but no {WEIGHTS_FILE}; "
                "pickled weights can run code, so partswap reads only safetensors"
            )
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is not a partswap checkpoint: it lacks {', '.join(missing)}")


def _read(folder: Path) -> Checkpoint:
    try:
        config = Config.from_json(read_json(folder / CONFIG_FILE))
        parts = Parts.from_json(read_json(folder / PARTS_FILE))
    except ModelError as error:
        where = "" if str(folder) in str(error) else f"{folder}: "
        raise ModelError(f"{where}{error}") from error
    if len(parts) != config.parts:
        raise ModelError(
            f"{folder}: config.json speaks of {config.parts} parts, but parts.json lists {len(parts)}"
        )
    check_weights(folder / WEIGHTS_FILE)
    return Checkpoint(folder, config, parts, sha256(folder / WEIGHTS_FILE)[:12])


def write_checkpoint(
    path: str | os.PathLike[str],
    config: Config,
    parts: Parts,
    tensors: Mapping[str, Tensor],
    card: str,
    overwrite: bool = False,
) -> Checkpoint:
    """Write a checkpoint folder as one step: whoever looks sees the old one, or the whole new one.

    tensors: names with their prefix (`student.`, `renderer.`). Matrices and kernels are stored as float16;
    vectors (biases, running statistics: a few kilobytes) stay float32, because variances overflow in float16.
    card: the text of `README.md`. With `overwrite`, an existing folder is replaced, if it holds a checkpoint
    and nothing else. Raises UsageError when it may not be replaced, ModelError for NaN weights or a parts
    mismatch.
    """
    target = Path(os.path.abspath(path))
    _check_target(target, overwrite)
    if len(parts) != config.parts:
        raise ModelError(f"the configuration speaks of {config.parts} parts, but {len(parts)} are listed")
    target.parent.mkdir(parents=True, exist_ok=True)
    _tidy_up(target)
    staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    try:
        _write_files(staged, config, parts, tensors, card)
        _swap(staged, target)
    except OSError as error:
        raise PartswapError(f"cannot write the checkpoint {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return read_checkpoint(target)


def write_parts(path: str | os.PathLike[str], parts: Parts) -> None:
    """Replace the `parts.json` of the checkpoint in folder `path` in one step; its weights stay as they
    are."""
    checkpoint = read_checkpoint(path)
    if len(parts) != checkpoint.config.parts:
        raise ModelError(
            f"{checkpoint.path} has {checkpoint.config.parts} parts, so {len(parts)} cannot be named"
        )
    with atomic_write(checkpoint.path / PARTS_FILE) as staged:
        staged.write_bytes(_json_bytes(parts.to_json()))


def write_closer(path: str | os.PathLike[str], closer: Sequence[Sequence[int]]) -> None:
    """Replace what the `config.json` of the checkpoint in folder `path` says is looked at from near, in one
    step."""
    checkpoint = read_checkpoint(path)
    config = replace(checkpoint.config, closer=tuple(tuple(kind) for kind in closer))
    with atomic_write(checkpoint.path / CONFIG_FILE) as staged:
        staged.write_bytes(_json_bytes(config.to_json()))


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{target} is a file; a checkpoint is a folder, so choose another name")
    entries = {entry.name for entry in target.iterdir() if not is_left_over(entry)}
    if entries and not overwrite:
        raise UsageError(
            f"{target} exists already; choose another folder, or allow it to be replaced with --overwrite"
        )
    foreign = sorted(entries - _KNOWN_FILES)
    if foreign:
        raise UsageError(f"{target} holds more than a checkpoint ({_some(foreign)}), so it is not replaced")


def _tidy_up(target: Path) -> None:
    """What runs left that were killed while they wrote: their new folder is thrown away; the old one, if it
    had stepped aside already, comes back."""
    for staged in target.parent.glob(f".{glob.escape(target.name)}.new-*"):
        shutil.rmtree(staged, ignore_errors=True)
    for aside in target.parent.glob(f".{glob.escape(target.name)}.old-*"):
        if (aside / _ASIDE).is_dir() and not target.exists():
            os.rename(aside / _ASIDE, target)
        shutil.rmtree(aside, ignore_errors=True)


def _write_files(
    folder: Path, config: Config, parts: Parts, tensors: Mapping[str, Tensor], card: str
) -> None:
    from safetensors.torch import save

    stored = {name: _stored(tensor) for name, tensor in tensors.items()}
    bad = [name for name, t in stored.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise ModelError(f"the model holds NaN or infinite values in {_some(bad)}, so it is not written")
    _write_bytes(folder / CONFIG_FILE, _json_bytes(config.to_json()))
    _write_bytes(folder / PARTS_FILE, _json_bytes(parts.to_json()))
    _write_bytes(folder / CARD_FILE, card.encode())
    _write_bytes(folder / WEIGHTS_FILE, save(stored))
    folder.chmod(0o755)  # mkdtemp makes it private


def _stored(tensor: Tensor) -> Tensor:
    tensor = (
        tensor.detach().cpu().clone().contiguous()
    )  # cloned: safetensors refuses tensors that share memory
    if not tensor.is_floating_point():
        return tensor
    return tensor.half() if tensor.ndim > 1 else tensor.float()


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _json_bytes(data: object) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _swap(staged: Path, target: Path) -> None:
    """Move `staged` to `target`; an older folder there steps aside first and returns if the move fails."""
    if not target.exists():
        os.rename(staged, target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    try:
        os.rename(target, aside / _ASIDE)
        try:
            os.rename(staged, target)
        except BaseException:
            os.rename(aside / _ASIDE, target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _some(names: list[str], limit: int = 6) -> str:
    shown = ", ".join(str(name)[:80] for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
