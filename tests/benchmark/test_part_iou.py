"""The part IoU protocol on small cases, and its trivial rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from partswap.benchmark import trivial
from partswap.benchmark.part_iou import halves, score_label_maps, score_tables

NAMES = ["background", "left", "right"]


def label(shift: int = 0) -> np.ndarray:
    """A 6 x 12 map: two blocks of 4 x 3 next to each other."""
    out = np.zeros((6, 12), np.uint8)
    out[1:5, 2 + shift : 5 + shift] = 1
    out[1:5, 5 + shift : 8 + shift] = 2
    return out


def test_perfect_up_to_ids() -> None:
    labels = [label(s) for s in range(4)]
    swapped = [np.array([0, 2, 1], np.uint8)[one] for one in labels]
    scores = score_label_maps(swapped, labels, NAMES)
    for fit in ("paper", "strict", "one_to_one", "one_to_one_strict"):
        assert scores[fit]["overall"] == 1
        assert scores[fit]["classes"] == {"left": 1, "right": 1}
    assert scores["paper"]["mapping"] == {1: "right", 2: "left"}
    assert (scores["images"], scores["parts"], scores["foreground_iou"]) == (4, 2, 1)
    assert scores["fg_nmi"] == pytest.approx(1)
    assert scores["fg_ari"] == pytest.approx(1)


def test_strict_does_not_see_the_scored_half() -> None:
    # In one half part 1 is `left`, in the other it is `right`: the other half's mapping is always wrong.
    labels = [label() for _ in range(6)]
    first, _ = halves(6, seed=0)
    predictions = [one if i in first else np.array([0, 2, 1], np.uint8)[one] for i, one in enumerate(labels)]
    scores = score_label_maps(predictions, labels, NAMES, seed=0)
    assert scores["strict"]["overall"] == 0
    assert scores["overall"] == 0
    # On all images both classes tie for both parts, so both go to the first: IoU 1/2 and 0.
    assert scores["paper"]["overall"] == 0.25


def test_halves_are_seeded_and_complete() -> None:
    first, second = halves(7, 3)
    assert (len(first), len(second)) == (4, 3)
    assert sorted([*first, *second]) == list(range(7))
    assert np.array_equal(halves(7, 3)[0], first)
    assert any(not np.array_equal(halves(7, seed)[0], first) for seed in range(4, 9))


def test_what_cannot_be_had_is_none_and_json() -> None:
    scores = score_label_maps([(label() > 0).astype(np.uint8)], [label()], NAMES)
    assert scores["strict"] is None
    assert scores["one_to_one"] is None
    assert scores["overall"] == scores["paper"]["overall"]
    empty = score_label_maps([label()], [np.zeros_like(label())], NAMES)
    assert empty["paper"]["overall"] is None
    assert empty["foreground_iou"] is None
    json.dumps([scores, empty], allow_nan=False)


def test_ignored_pixels_do_not_matter() -> None:
    truth = label()
    truth[:, 7] = 255
    wrong = label()
    wrong[:, 7] = 1
    assert score_label_maps([wrong], [truth], NAMES)["paper"]["overall"] == 1


def test_refuses_nothing_and_misfits() -> None:
    with pytest.raises(ValueError, match="no labelled images"):
        score_label_maps([], [], NAMES)
    with pytest.raises(ValueError, match="1 predictions for 2 labels"):
        score_label_maps([label()], [label(), label()], NAMES)
    with pytest.raises(ValueError, match="do not fit"):
        score_tables(np.zeros((1, 2, 5), np.int64), NAMES)


def test_cells_by_hand() -> None:
    foreground = np.zeros((5, 6), bool)
    foreground[1:5, 1:5] = True
    foreground[1, 1] = False
    expected = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 2, 2, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 3, 3, 4, 4, 0],
        [0, 3, 3, 4, 4, 0],
    ]
    assert trivial.cells(foreground, 2, 2).tolist() == expected
    assert not trivial.cells(np.zeros((3, 3), bool), 8, 4).any()


def test_cells_of_a_tiny_foreground_stay_in_range() -> None:
    foreground = np.zeros((4, 4), bool)
    foreground[1:3, 2] = True
    ids = trivial.cells(foreground, 8, 4)
    assert set(np.unique(ids)) <= set(range(33))
    assert np.array_equal(ids > 0, foreground)


def test_bands_are_good_at_bands() -> None:
    truth = np.zeros((20, 10), np.uint8)
    truth[2:10, 3:7], truth[10:18, 3:7] = 1, 2
    truth[0, 0] = 255
    ids = trivial.cells(trivial.true_foreground(truth), 8, 1)
    assert score_label_maps([ids], [truth], NAMES)["paper"]["overall"] == 1
