"""Which device an engine runs on: what was asked for, or a sentence why not; never another one in silence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from partswap.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["parse_device", "pick_device"]

_NUMBERED = ("cuda", "tensorrt")


def parse_device(text: str) -> tuple[str, int]:
    """`cuda:1` -> `("cuda", 1)`; the kind is auto, cpu, cuda, tensorrt or mps, the number 0 where none is
    given.

    Raises UsageError for another word.
    """
    match = re.fullmatch(r"(auto|cpu|mps|cuda|tensorrt)(?::(\d{1,3}))?", text.strip().lower())
    if match is None or (match[2] and match[1] not in _NUMBERED):
        raise UsageError(
            f"there is no device {text[:40]!r}; choose from auto, cpu, cuda, cuda:1, tensorrt, mps"
        )
    return match[1], int(match[2] or 0)


def pick_device(text: str = "auto") -> torch.device:
    """The torch device for `auto` (CUDA, else Apple's MPS, else CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UsageError for another word, and DeviceError, with the mend, for a device that cannot be had.
    """
    kind, index = parse_device(text)
    if kind == "tensorrt":
        raise DeviceError("torch does not run on tensorrt; use --engine onnx, or --device cuda")
    import torch

    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    elif kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(_why_no_cuda())
    elif kind == "mps" and not _has_mps():
        raise DeviceError("device mps is not there: it needs macOS on Apple silicon; use --device cpu")
    if kind != "cuda":
        return torch.device(kind)
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(f"device cuda:{index} is not there: this machine has cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", index)


def _has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return (
            f"device cuda is not there: this torch ({torch.__version__}) is built without CUDA; "
            "install a CUDA build from pytorch.org, or use --device cpu"
        )
    return (
        f"device cuda is not there: torch is built for CUDA {torch.version.cuda}, but no driver or card "
        "answers (see nvidia-smi); use --device cpu to run without"
    )
