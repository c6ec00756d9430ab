"""Random windows, colour jitter and warps: geometry that labels and photos share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from partswap.benchmark.framing import SCALES, Window
from partswap.benchmark.leak import Warp, disagreement, jitter_colours

RNG = np.random.default_rng(5)
PHOTO = RNG.integers(0, 256, (40, 30, 3), np.uint8)
LABEL = RNG.integers(0, 6, (40, 30), np.uint8)


def test_window_that_is_the_frame_changes_nothing() -> None:
    window = Window(0, 0, 1)
    assert np.array_equal(window.crop_photo(PHOTO), PHOTO)
    assert np.array_equal(window.crop_labels(LABEL), LABEL)


def test_small_window_is_a_crop() -> None:
    window = Window(left=0.5, top=0.25, scale=0.5)
    assert np.array_equal(window.crop_photo(PHOTO), PHOTO[10:30, 15:30])
    assert np.array_equal(window.crop_labels(LABEL), LABEL[10:30, 15:30])


def test_large_window_repeats_the_border_and_ignores_it() -> None:
    shown = Window(left=-0.5, top=-0.25, scale=1.5)
    photo, label = shown.crop_photo(PHOTO), shown.crop_labels(LABEL, ignore=255)
    assert photo.shape == (60, 45, 3)
    assert np.array_equal(photo[10:50, 15:45], PHOTO)
    assert np.array_equal(photo[30, :15], np.tile(PHOTO[20, :1], (15, 1)))
    assert np.array_equal(label[10:50, 15:45], LABEL)
    assert (label == 255).sum() == 60 * 45 - 40 * 30


def test_random_windows_stay_in_bounds() -> None:
    rng = np.random.default_rng(0)
    for window in (Window.random(rng) for _ in range(200)):
        assert SCALES[0] <= window.scale <= SCALES[1]
        low, high = sorted((0.0, 1 - window.scale))
        assert low <= window.left <= high
        assert low <= window.top <= high


def test_a_window_fits_a_one_pixel_photo() -> None:
    assert Window(0.6, 0.6, 0.35).crop_photo(PHOTO[:1, :1]).shape == (1, 1, 3)


def test_jitter_changes_colours_only_and_is_seeded() -> None:
    changed = jitter_colours(PHOTO, np.random.default_rng(1))
    assert changed.shape == PHOTO.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, PHOTO)
    assert np.array_equal(changed, jitter_colours(PHOTO, np.random.default_rng(1)))
    # Grey has no hue or saturation: it stays grey.
    grey = jitter_colours(np.full((4, 4, 3), 90, np.uint8), np.random.default_rng(2)).astype(int)
    assert np.ptp(grey, axis=2).max() <= 1


def test_warp_without_motion_is_the_identity() -> None:
    warp = Warp(np.stack(np.meshgrid(np.arange(40.0), np.arange(30.0), indexing="ij")))
    assert np.array_equal(warp.photo(PHOTO), PHOTO)
    assert np.array_equal(warp.labels(LABEL), LABEL)
    assert warp.inside.all()


def test_warp_moves_photo_and_labels_alike() -> None:
    label = np.zeros((80, 60), np.uint8)
    label[20:60, 15:45] = 1
    warp = Warp.random(80, 60, np.random.default_rng(3))
    from_photo = warp.photo(np.repeat(label[..., None] * 255, 3, axis=2))[..., 0] > 127
    assert disagreement(from_photo.astype(np.uint8), warp.labels(label)) < 0.03
    assert not np.array_equal(warp.labels(label), label)
    assert 0.5 < warp.inside.mean() <= 1


def test_disagreement_by_hand() -> None:
    first, second = np.array([[0, 1, 2, 2]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8)
    assert disagreement(first, second) == pytest.approx(2 / 3)
    assert disagreement(first, second, np.array([[True, True, True, False]])) == pytest.approx(1 / 2)
    assert disagreement(first, first) == 0
    assert math.isnan(disagreement(first * 0, first * 0))
