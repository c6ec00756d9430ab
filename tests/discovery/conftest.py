"""Nets as small as these lose more to waiting for each other's threads than they gain."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread per test process."""
    torch.set_num_threads(1)
