"""Drawn people as fixtures: the tests are imported by path, so they cannot import a neighbour."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from partswap.segmentation import Segmentation


@pytest.fixture(scope="session")
def people() -> ModuleType:
    """The module `drawn_people.py` next to this file."""
    spec = importlib.util.spec_from_file_location("drawn_people", Path(__file__).with_name("drawn_people.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def draw(people: ModuleType) -> Callable[..., Segmentation]:
    """`draw(height, width, seed=0, alpha=None, icc=None, centre=.5, tall=.8, left_out="right arm")`."""
    return people.draw
