"""The state of a run on disk: one safetensors file, replaced as a whole, so that a half-written one is never
seen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from partswap.errors import UsageError
from partswap.imaging.save import atomic_write


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        stage: index of the stage in the plan; step: steps done in it; elapsed: seconds spent in it.
    """

    stage: int = 0
    step: int = 0
    elapsed: float = 0.0


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The optimizer's moments as named tensors (parameters by position)."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{i}.{name}": torch.as_tensor(value)
        for i, entry in state.items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    """Put moments saved by :func:`optimizer_tensors` back; the groups stay those of ``optimizer``. Raises
    UsageError if they are those of other parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix + "."):
            _, position, name = key.rsplit(".", 2)
            state.setdefault(int(position), {})[name] = value
    known = [p for group in optimizer.param_groups for p in group["params"]]
    fits = all(int(at) < len(known) for at in state) and all(
        value.dim() == 0 or value.shape == known[int(at)].shape
        for at, entry in state.items()
        for value in entry.values()
    )
    if not fits:
        raise _other_version()
    full = optimizer.state_dict()
    full["state"] = state
    optimizer.load_state_dict(full)
    for parameter, entry in optimizer.state.items():
        for name, value in entry.items():
            if value.shape == parameter.shape:
                # In the parameter's own memory format: fused kernels walk both side by side, and a file knows
                # nothing of channels_last.
                entry[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def module_tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Parameters and buffers under a prefix."""
    return {f"{prefix}.{k}": v for k, v in module.state_dict().items()}


def restore_module(module: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    """Put parameters and buffers back, strictly; raises UsageError if they are those of another module."""
    start = prefix + "."
    found = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
    try:
        module.load_state_dict(found, strict=True)
    except RuntimeError as error:
        raise _other_version() from error


def _other_version() -> UsageError:
    return UsageError(
        "the saved state does not fit this version of partswap; "
        "go on with the version that wrote it, or start anew in another --out."
    )


def save_state(path: Path, tensors: dict[str, Tensor], progress: Progress, options: dict[str, Any]) -> None:
    """Write the state of a run, atomically."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"progress": json.dumps(asdict(progress)), "options": json.dumps(options, sort_keys=True)}
    # A fresh copy of every tensor: safetensors refuses tensors that share memory.
    plain = {k: v.detach().to("cpu").clone().contiguous() for k, v in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(plain, str(temporary), metadata=metadata)


def load_state(path: Path, options: dict[str, Any]) -> tuple[dict[str, Tensor], Progress]:
    """Read what :func:`save_state` wrote.

    Raises:
        UsageError: the file is damaged, or was written by a run with other options (named in the message).
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as handle:
            metadata = handle.metadata() or {}
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a dict)
        progress = Progress(**json.loads(metadata["progress"]))
        before = json.loads(metadata["options"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"the training state {path} cannot be read ({error}); start again without --resume."
        ) from error
    # What a state of an earlier version does not know was not asked for then.
    changed = sorted(
        k for k in before.keys() | options.keys() if (before.get(k) or None) != (options.get(k) or None)
    )
    if changed:
        what = ", ".join(f"{k} (was {before.get(k)!r}, now {options.get(k)!r})" for k in changed)
        raise UsageError(
            f"the run in {path.parent} had other options: {what}; "
            "repeat them, or start anew in another --out."
        )
    return tensors, progress


class MovingAverage:
    """Exponential moving average of a module, buffers included; what is kept of a training run.

    The decay grows with the number of updates, so that short runs do not remember their random start.
    """

    def __init__(self, module: nn.Module, decay: float = 0.998) -> None:
        import copy

        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards ``module`` after update number ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = [], []
        for a, b in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if a.is_floating_point():
                ours.append(a)
                theirs.append(b.detach())
            else:
                a.copy_(b)
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)
