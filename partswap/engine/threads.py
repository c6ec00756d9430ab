"""How many threads the net gets: what was asked for, else one for each core that is ours to use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from partswap.errors import UsageError

__all__ = ["MOST_THREADS", "net_threads"]

MOST_THREADS = 1024

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def net_threads(asked: int | None = None) -> int:
    """`asked`, or the number of cores that this process may use.

    That is the least of: the physical cores among those that it may run on (two threads on one core share the
    unit that multiplies, and only get in each other's way), the container's quota, and `OMP_NUM_THREADS`.
    Raises UsageError for a number that cannot be.
    """
    if asked is not None:
        if not 1 <= asked <= MOST_THREADS:
            raise UsageError(f"--threads {asked} is not possible; give 1 to {MOST_THREADS}")
        return asked
    limits = [_cores(), _quota(), _environment()]
    return max(1, min(limit for limit in limits if limit is not None))


def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    ours = os.sched_getaffinity(0)  # fewer than the machine's, in containers and under batch systems
    try:
        return len({Path(_SIBLINGS.format(cpu)).read_text() for cpu in ours})
    except OSError:
        return len(ours)


def _quota() -> int | None:
    try:
        quota, period = _QUOTA.read_text().split()[:2]
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max": no quota
        return None


def _environment() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(value) if value.isdigit() and int(value) > 0 else None
