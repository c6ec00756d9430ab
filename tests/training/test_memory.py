"""Freed memory that is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from partswap.training.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(77)
def step():
    for size in (3, 40, 7, 90):
        np.ones(size << 20, np.uint8)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_the_same_memory_is_used_again_instead_of_fresh_pages() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True)
        if done.returncode == 77:
            pytest.skip("not glibc")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert faults("keep") < 0.1 * faults("give back")
