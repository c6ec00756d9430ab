"""Parts that keep to their colour within a photo."""

from __future__ import annotations

import numpy as np
import pytest

from partswap.appearance import drawn_to_appearance, likelihoods, typical_and_own

BLACK, SKIN, WHITE = (20, 20, 24), (205, 150, 125), (240, 240, 240)


def scene(border: int) -> tuple[np.ndarray, np.ndarray]:
    """A vest left of column 40, an arm right of it, a net that errs about the border; background above."""
    pixels = np.full((64, 96, 3), WHITE, np.uint8)
    pixels[16:, :40] = BLACK
    pixels[16:, 40:] = SKIN
    part_map = np.zeros((3, 64, 96), np.float32)
    part_map[0, :16] = 1
    chest = 0.5 + 0.4 * np.tanh((border - 0.5 - np.arange(96)) / 8)
    part_map[1, 16:] = chest
    part_map[2, 16:] = 1 - chest
    return part_map, pixels


@pytest.mark.parametrize("border", [37, 43])
def test_a_border_moves_to_where_the_colour_changes(border: int) -> None:
    part_map, pixels = scene(border)
    before = part_map.copy()
    drawn = drawn_to_appearance(part_map, pixels)
    assert drawn.dtype == np.float32
    assert (before[:, 16:].argmax(0)[0] == 1).sum() == border
    assert (drawn[:, 16:].argmax(0)[0] == 1).sum() == pytest.approx(40, abs=1)
    np.testing.assert_array_equal(drawn[0], before[0])
    np.testing.assert_allclose(drawn.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(part_map, before)


def test_what_the_net_is_sure_of_stays_whatever_its_colour() -> None:
    part_map, pixels = scene(40)
    pixels[40:50, 4:14] = SKIN  # a hand in front of the chest, which the net takes for chest: .89 and more
    drawn = drawn_to_appearance(part_map, pixels)
    assert (drawn[:, 40:50, 4:14].argmax(0) == 1).all()
    assert drawn[1, 40:50, 4:14].max() < part_map[1, 40:50, 4:14].min()


def test_of_one_colour_nothing_changes() -> None:
    part_map, pixels = scene(30)
    pixels[16:] = SKIN
    np.testing.assert_allclose(drawn_to_appearance(part_map, pixels), part_map, atol=1e-3)


def test_brightness_counts_less_than_hue() -> None:
    part_map, pixels = scene(34)
    lit = pixels.copy()
    pixels[16:, :40], pixels[16:, 40:] = (120, 60, 60), (60, 60, 120)
    lit[16:, :40], lit[16:, 40:] = (110, 60, 60), (125, 70, 70)

    def moved(picture: np.ndarray) -> float:
        return float(np.abs(drawn_to_appearance(part_map, picture) - part_map).sum())

    assert moved(lit) < 0.5 * moved(pixels)


@pytest.mark.parametrize("shape", [(1, 1), (32, 320), (320, 32)])
def test_any_size_and_nothing_in_sight(shape: tuple[int, int]) -> None:
    part_map = np.zeros((4, *shape), np.float32)
    part_map[0] = 1
    pixels = np.zeros((2 * shape[0], 2 * shape[1], 3), np.uint8)
    np.testing.assert_array_equal(drawn_to_appearance(part_map, pixels), part_map)
    part_map[:] = 0.25
    drawn = drawn_to_appearance(part_map, pixels)
    assert np.isfinite(drawn).all()
    np.testing.assert_allclose(drawn, 0.25, atol=1e-5)


def test_parts_that_are_alike_share_one_colour() -> None:
    """Two parts are the arm: one is seen on skin, the other on the flank, whose colour is the vest's."""
    pixels = np.full((64, 96, 3), BLACK, np.uint8)
    pixels[:, 48:] = SKIN
    part_map = np.zeros((4, 64, 96), np.float32)
    part_map[1, :, :36], part_map[2, :, 36:48], part_map[3, :, 48:] = 1, 1, 1
    flank = np.arange(40, 46)

    def on_the_flank(alike: list[int]) -> np.ndarray:
        typical, colours = typical_and_own(part_map, pixels, alike, 0.2)
        return likelihoods(typical, colours[flank], 0.2)

    own = on_the_flank([0, 1, 2])
    assert own.shape == (3, 6)
    np.testing.assert_allclose(own, [[1.0] * 6, [1.0] * 6, [0.2] * 6], atol=0.02)
    np.testing.assert_allclose(on_the_flank([0, 1, 1]), [[1.0] * 6, [0.2] * 6], atol=0.02)
