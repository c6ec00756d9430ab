"""What `partswap train` says of photos and numbers that it cannot use."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from partswap.discovery import objective

Words = Callable[..., list[str]]
SHORT = ("--steps", 2, "--distill-steps", 1)


def on(photos: Path, words: list[str], drawn: Any) -> list[str]:
    """The same run on other photos."""
    return [str(photos) if w == str(drawn.photos) else w for w in words]


def test_an_unreadable_photo_is_named_and_the_rest_trained_on(
    drawn: Any, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(drawn.photos, photos)
    broken = sorted(photos.iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:200])
    words = on(photos, run_words(tmp_path / "run", *SHORT), drawn)
    outcome = cli(*(w for w in words if w != "--quiet"))
    assert outcome.code == 0
    assert outcome.err.count(f"skipped {broken.name}") == 1
    assert "11 photos" in outcome.err
    assert (tmp_path / "run" / "model" / "config.json").exists()


@pytest.mark.parametrize("kept", [0, 7])
def test_none_or_too_few_readable_photos_are_one_sentence(
    drawn: Any, run_words: Words, tmp_path: Path, cli: Any, kept: int
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(drawn.photos, photos)
    for path in sorted(photos.iterdir())[kept:]:
        path.write_bytes(b"no picture")
    outcome = cli(*on(photos, run_words(tmp_path / "run", *SHORT), drawn))
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("error:") == len(outcome.err.splitlines()) == 1
    assert f"holds {kept} readable photos" in outcome.err
    assert not (tmp_path / "run" / "model").exists()


def test_a_number_that_is_none_stops_the_run_with_the_step_and_the_term(
    run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = itertools.count(1), objective.gmrf

    def breaks(logits: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        return real(logits, foreground) * (float("nan") if next(calls) == 2 else 1.0)

    monkeypatch.setattr(objective, "gmrf", breaks)
    outcome = cli(*run_words(tmp_path / "run", "--steps", 4, "--distill-steps", 1))
    assert outcome.code == 1
    assert "discovery broke at step 2: gmrf is not finite" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run" / "state").exists()  # a broken state is not kept
