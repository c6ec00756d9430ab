"""Memory of a training step stays with the process, for the next step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of giving it back to the system; whether it will.

    Every step on the CPU asks for the same large tensors. Where each comes from the system anew, its pages
    are mapped and cleared again every time: a third of a run's time where that is dear (virtual machines).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
