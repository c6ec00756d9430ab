"""The guided filter, and label maps whose outline is the photo's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partswap.imaging.frame import Frame, fit
from partswap.imaging.guided import guided, guided_coefficients, snapped_labels


def soft_step(width: int, middle: float, softness: float) -> np.ndarray:
    return np.clip((np.arange(width) + 0.5 - middle) / softness + 0.5, 0, 1).astype(np.float32)


def test_the_guided_filter_snaps_to_the_edge() -> None:
    rgb = np.full((600, 160, 3), 40, np.uint8)
    rgb[:, 80:] = 210
    guess = np.broadcast_to(soft_step(160, 77, 10), (600, 160)).copy()  # 3 px off, soft
    filtered = guided(guided_coefficients(rgb, guess, 12, 3e-4), rgb)
    assert filtered[60, 78] < 0.35
    assert filtered[60, 81] > 0.65
    flat = guided(guided_coefficients(rgb, np.ones((600, 160), np.float32), 12, 3e-4), rgb)
    assert flat == pytest.approx(1, abs=1e-3)


def part_map(right: np.ndarray, frame: Frame) -> np.ndarray:
    """Background on the left, two parts, one above the other, on the right: float32 (3, h, w)."""
    height, width = frame.net
    person = np.broadcast_to(np.resize(right, width), (height, width))
    upper = (np.arange(height) < frame.content[0] / 2)[:, None]
    return np.stack([1 - person, person * upper, person * ~upper]).astype(np.float32)


@pytest.mark.parametrize("off", [-1.5, 0.0, 1.5])
def test_the_outline_lands_on_the_photo_s_edge_at_the_photo_s_size(off: float) -> None:
    """Four photo pixels are one of the net's: an outline that is six photo pixels off comes right."""
    rgb = np.full((400, 400, 3), (60, 90, 60), np.uint8)
    rgb[:, 210:] = (200, 120, 110)
    _, frame = fit(rgb, 100, 32)
    labels = snapped_labels(rgb, part_map(soft_step(100, 52.5 + off, 4), frame), frame)
    assert (labels[20:-20, :207] == 0).all()
    assert (labels[20:190, 213:] == 1).all()
    assert (labels[210:-20, 213:] == 2).all()


def test_without_edges_the_net_decides() -> None:
    rgb = np.full((400, 400, 3), 128, np.uint8)
    _, frame = fit(rgb, 100, 32)
    maps = part_map(soft_step(100, 40, 4), frame)
    assert (snapped_labels(rgb, maps, frame) != frame.labels(maps)).mean() < 0.005


def test_an_edge_far_from_the_outline_moves_nothing() -> None:
    rgb = np.full((400, 400, 3), 128, np.uint8)
    rgb[:, 300:] = 20
    _, frame = fit(rgb, 100, 32)
    labels = snapped_labels(rgb, part_map(soft_step(100, 30, 4), frame), frame)
    assert (labels[:, 130:] > 0).all()
    assert (labels[:, :110] == 0).all()


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 6),
    st.sampled_from([32, 64]),
    st.integers(0, 2**32 - 1),
)
def test_any_size_and_any_map(height: int, width: int, parts: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    _, frame = fit(rgb, side, 32)
    maps = rng.random((parts + 1, *frame.net), np.float32)
    labels = snapped_labels(rgb, maps / maps.sum(0), frame)
    assert labels.shape == (height, width)
    assert labels.dtype == np.uint8
    assert labels.max() <= parts


def test_nothing_but_background_and_nothing_but_a_part() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    _, frame = fit(rgb, 64, 32)
    only = np.zeros((3, *frame.net), np.float32)
    for channel in range(3):
        only[:] = 0
        only[channel] = 1
        assert (snapped_labels(rgb, only, frame) == channel).all()
