"""Drawn figures as fixtures: the tests are imported by path, so they cannot import a neighbour."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

BACKBONE = "mobilenetv3_small_050"


@dataclass(frozen=True)
class Drawn:
    """A folder of drawn figures, and the options of a run that ends in seconds."""

    photos: Path
    masks: Path

    def words(self, out: Path, *more: object) -> list[str]:
        """Words of a `partswap train` that ends in seconds."""
        small = [
            "--size",
            "64x64",
            "--parts",
            4,
            "--batch",
            4,
            "--steps",
            4,
            "--distill-steps",
            4,
            "--rounds",
            1,
        ]
        nets = ["--backbone", BACKBONE, "--pretrained", "none", "--device", "cpu", "--workers", 1, "--quiet"]
        return [
            str(w) for w in ["train", self.photos, "--masks", self.masks, "--out", out, *small, *nets, *more]
        ]


@pytest.fixture(scope="session")
def figures() -> ModuleType:
    """The module `figures.py` next to this file."""
    spec = importlib.util.spec_from_file_location("figures", Path(__file__).with_name("figures.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def drawn(figures: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """A dozen figures with masks."""
    return Drawn(*figures.write_figures(tmp_path_factory.mktemp("drawn"), 12))


@pytest.fixture
def run_words(drawn: Drawn) -> Callable[..., list[str]]:
    """`run_words(out, "--seed", 1)`: the words of a short run."""
    return drawn.words
