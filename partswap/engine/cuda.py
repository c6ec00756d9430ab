"""What this machine has of CUDA, asked of NVIDIA's own libraries: no torch, no ONNX Runtime.

The driver tells how many cards there are and up to which CUDA it goes; the libraries of the toolkit are
tried one by one, by the names that the dynamic loader knows them by.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

__all__ = ["Driver", "driver", "missing_libraries"]


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver. cards: how many answer. cuda: the newest CUDA version that it runs, `"13.0"`."""

    cards: int
    cuda: str


@functools.cache
def driver() -> Driver | None:
    """The driver, or None where there is none: no machine without it can run CUDA."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    # Each answers 0 for success; a driver without a card, or one that does not fit its kernel module, does
    # not.
    if library.cuDriverGetVersion(ctypes.byref(version)):
        version = ctypes.c_int(0)
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)):
        count = ctypes.c_int(0)
    return Driver(count.value, f"{version.value // 1000}.{version.value % 1000 // 10}")


def missing_libraries(major: int, tensorrt: bool = False) -> list[str]:
    """The shared libraries that ONNX Runtime needs for CUDA `major` and the dynamic loader does not find.

    Ask after `onnxruntime.preload_dlls()`, which finds those that pip installed. Empty where the names are
    not known (not Linux).
    """
    if not sys.platform.startswith("linux"):
        return []
    # NVIDIA numbers these two on their own: cuFFT 11 goes with CUDA 12, 12 with 13; cuRAND has stayed at 10
    names = [
        f"libcudart.so.{major}",
        f"libcublasLt.so.{major}",
        f"libcublas.so.{major}",
        f"libcufft.so.{major - 1}",
        "libcurand.so.10",
        "libcudnn.so.9",
    ]
    if tensorrt:
        names += ["libnvinfer.so.10", "libnvonnxparser.so.10"]
    return [name for name in names if not _loads(name)]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
