"""`drawn` as a fixture: the tests are imported by path, so they cannot import a neighbour."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def drawn() -> ModuleType:
    """The module `drawn.py` next to this file."""
    spec = importlib.util.spec_from_file_location("drawn", Path(__file__).with_name("drawn.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
