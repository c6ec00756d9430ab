"""Steadied part maps: less noise, no lag behind what moves, no memory of another scene."""

from __future__ import annotations

import numpy as np
import pytest

from partswap.imaging.opencv import opencv
from partswap.steady import Steady, small_grey

SIZE = (96, 128)


def scene(seed: int) -> np.ndarray:
    """A picture with structure to follow, larger than a frame: uint8 (192, 256)."""
    noise = np.random.default_rng(seed).integers(0, 256, (192, 256)).astype(np.float32)
    smooth = opencv().GaussianBlur(noise, (0, 0), 3)
    return np.clip((smooth - smooth.mean()) * 8 + 128, 0, 255).astype(np.uint8)


def disc(x: float) -> np.ndarray:
    """A part map (2, h, w): a soft disc with its middle at x."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = 0.3 + 0.4 / (1 + np.exp((np.hypot(rows - 48, columns - x) - 20) / 2))
    return np.stack([1 - inside, inside]).astype(np.float32)


def moving(
    steps: int = 12, speed: int = 3, noise: float = 0.0
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames of a scene that moves to the right with a disc on it: grey, noisy map, true map."""
    picture, draw = scene(0), np.random.default_rng(1)
    frames = []
    for step in range(steps):
        grey = picture[40 : 40 + SIZE[0], 60 - speed * step : 60 - speed * step + SIZE[1]].copy()
        true = disc(40 + speed * step)
        flicker = noise * draw.normal(size=SIZE).astype(np.float32)
        frames.append((grey, true + np.stack([-flicker, flicker]), true))
    return frames


def test_noise_is_averaged_away_without_a_lag():
    steady, off, alone = Steady(), [], []
    for grey, noisy, true in moving(noise=0.05):
        got = steady(grey, noisy)
        off.append(np.abs(got - true).mean())
        alone.append(np.abs(noisy - true).mean())
    assert np.mean(off[5:]) < 0.6 * np.mean(alone[5:])
    centre = (got[1] > 0.5).nonzero()[1].mean()
    assert abs(centre - (40 + 3 * 11)) < 1.5  # a plain average would trail behind by nine pixels


def test_probabilities_stay_probabilities():
    steady = Steady()
    for grey, _, true in moving(4):
        got = steady(grey, true)
        assert got.dtype == np.float32
        assert np.abs(got.sum(axis=0) - 1).max() < 1e-5
        assert got.min() >= 0


@pytest.mark.parametrize("change", ["scene", "size"])
def test_another_scene_begins_anew(change: str):
    steady = Steady()
    for grey, _, true in moving(4):
        steady(grey, true)
    other, part_map = scene(9)[: SIZE[0], : SIZE[1]], disc(100)
    if change == "scene":
        other = 255 - other // 3
    else:
        other, part_map = other[:80, :90], part_map[:, :80, :96]
    assert (steady(other, part_map) == part_map).all()


def test_the_first_frame_and_tiny_ones_are_left_alone():
    part_map = disc(60)[:, :8, :8]
    steady = Steady()
    for _ in range(3):
        assert (steady(np.zeros((8, 8), np.uint8), part_map) == part_map).all()


def test_the_frame_in_grey_has_the_size_of_the_content():
    assert small_grey(np.zeros((300, 200, 3), np.uint8), (96, 64)).shape == (96, 64)
