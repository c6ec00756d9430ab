"""IoU scores against cases worked out by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest

from partswap.metrics import iou

# One image of 10 pixels: label 0 0 0 1 1 1 2 2 2 and one ignored; ids 0 0 1 1 1 2 2 2 3.
TRUTH = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2, 255]], np.uint8)
PREDICTED = np.array([[0, 0, 1, 1, 1, 2, 2, 2, 3, 3]], np.uint8)
TABLE = np.array([[2, 0, 0], [1, 2, 0], [0, 1, 2], [0, 0, 1]])


def test_contingency_counts_and_ignores() -> None:
    assert np.array_equal(iou.contingency(PREDICTED, TRUTH, 4, 3), TABLE)


def test_contingency_without_ignored_pixels_keeps_all() -> None:
    truth = np.where(TRUTH == 255, 0, TRUTH)
    assert iou.contingency(PREDICTED, truth, 4, 3, ignore=None).sum() == 10


def test_contingency_of_an_ignored_image_is_zero() -> None:
    assert not iou.contingency(PREDICTED, np.full_like(TRUTH, 255), 4, 3).any()


def test_contingency_does_not_wrap_small_integers() -> None:
    predicted, truth = np.full((20, 20), 200, np.uint8), np.full((20, 20), 5, np.uint8)
    assert iou.contingency(predicted, truth, 201, 6)[200, 5] == 400


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (PREDICTED, TRUTH.T, "differ in size"),
        (PREDICTED + 9, TRUTH, "not among 0..3"),
        (PREDICTED, np.full_like(TRUTH, 7), "label value 7"),
    ],
)
def test_contingency_refuses(predicted: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iou.contingency(predicted, truth, 4, 3)


def test_pair_iou_by_hand() -> None:
    expected = [[2 / 3, 0, 0], [1 / 5, 2 / 4, 0], [0, 1 / 5, 2 / 4], [0, 0, 1 / 3]]
    assert np.allclose(iou.pair_iou(TABLE[None])[0], expected)


def test_pair_iou_is_nan_where_neither_is() -> None:
    table = np.array([[3, 0], [0, 0]])
    assert np.isnan(iou.pair_iou(table[None])[0, 1, 1])


def test_best_classes_averages_over_images() -> None:
    # Part 1 lies on class 1 in the first image only; its two other images vote for class 2.
    one = np.array([[4, 0, 0], [0, 4, 0]])
    two = np.array([[4, 4, 0], [0, 0, 4]])
    assert iou.best_classes(np.stack([one, two, two])).tolist() == [0, 2]


def test_best_classes_may_choose_background_and_fixes_id_zero() -> None:
    table = np.array([[0, 5, 0], [5, 1, 0], [0, 0, 0]])
    assert iou.best_classes(table[None]).tolist() == [0, 0, 0]


def test_class_scores_merge_before_scoring() -> None:
    mapping = np.array([0, 1, 2, 2])
    # class 1: part 1 -> 2 hits of (3 predicted + 3 true - 2); class 2: parts 2, 3 -> 3 hits of (4 + 3 - 3).
    assert np.allclose(iou.class_scores(TABLE[None], mapping), [2 / 3, 2 / 4, 3 / 4])
    assert iou.overall(iou.class_scores(TABLE[None], mapping)) == pytest.approx((2 / 4 + 3 / 4) / 2)


def test_class_scores_average_over_images_that_contain_the_class() -> None:
    without = np.array([[6, 0, 0], [0, 3, 0], [1, 0, 0]])  # class 2 absent, though its part is predicted
    with_it = np.array([[6, 0, 0], [0, 3, 0], [0, 0, 4]])
    scores = iou.class_scores(np.stack([without, with_it]), np.array([0, 1, 2]))
    assert np.allclose(scores, [(6 / 7 + 1) / 2, 1.0, 1.0])


def test_a_class_in_no_image_is_left_out_of_overall() -> None:
    scores = iou.class_scores(np.array([[[5, 0, 0], [0, 5, 0]]]), np.array([0, 1]))
    assert np.isnan(scores[2])
    assert iou.overall(scores) == 1.0


def test_a_part_missing_costs_the_class() -> None:
    assert iou.class_scores(np.array([[[5, 5]]]), np.array([0])).tolist() == [0.5, 0.0]


def test_one_to_one_takes_the_best_sum() -> None:
    # Greedy would give part 1 class 1 (IoU .5) and leave part 2 with nothing; the best sum swaps them.
    table = np.array([[9, 0, 0], [0, 4, 3], [0, 3, 0], [0, 0, 1]])
    assert iou.one_to_one(table[None]).tolist() == [0, 2, 1, iou.UNMAPPED]


def test_one_to_one_needs_enough_parts() -> None:
    with pytest.raises(ValueError, match="at least 2 parts"):
        iou.one_to_one(np.array([[[9, 0, 0], [0, 4, 3]]]))


def test_unmapped_parts_still_count_in_the_class_size() -> None:
    table = np.array([[0, 0], [0, 3], [0, 1]])
    assert iou.class_scores(table[None], np.array([0, 1, iou.UNMAPPED]))[1] == pytest.approx(3 / 4)


def test_foreground_iou_by_hand() -> None:
    # 6 true foreground pixels, 7 predicted on scored pixels, 6 in both.
    assert iou.foreground_iou(TABLE[None]) == pytest.approx(6 / 7)
    assert np.isnan(iou.foreground_iou(np.array([[[5, 0], [1, 0]]])))


def test_predictions_are_brought_to_the_labels_size() -> None:
    predicted = np.array([[1, 2]], np.uint8)
    assert iou.at_size(predicted, 2, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert iou.at_size(np.array([[1, 2, 3]], np.uint8), 1, 1).tolist() == [[2]]
    tables = iou.contingency_tables([predicted], [np.ones((2, 4), np.uint8)], 2)
    assert tables[0].tolist() == [[0, 0], [0, 4], [0, 4]]


def test_fast_enough() -> None:
    rng = np.random.default_rng(0)
    predictions = [rng.integers(0, 17, (288, 200), np.uint8) for _ in range(50)]
    labels = [rng.integers(0, 6, (288, 200), np.uint8) for _ in range(50)]
    started = time.perf_counter()
    iou.best_classes(iou.contingency_tables(predictions, labels, 6))
    # 250 maps in under 5 s is the promise; a fifth of them gets all of it, so that a busy machine passes.
    assert time.perf_counter() - started < 5
