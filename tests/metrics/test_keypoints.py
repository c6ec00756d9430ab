"""PCK against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from partswap.metrics import keypoints

TRUTH = np.zeros((1, 4, 2))
# 100 x 200 image: distances 5 (3-4-5 triangle), 10, 20, 21 px are .025, .05, .1, .105 of the longer side.
PREDICTED = np.array([[[3, 4], [0, 10], [20, 0], [0, 21]]], float)
SIZES = [[100, 200]]


def test_distances_are_parts_of_the_longer_side() -> None:
    assert np.allclose(keypoints.normalised_distances(PREDICTED, TRUTH, SIZES), [[0.025, 0.05, 0.1, 0.105]])


def test_pck_counts_the_threshold_itself() -> None:
    assert keypoints.pck(PREDICTED, TRUTH, SIZES).tolist() == [0.25, 0.5, 0.75]


def test_pck_pools_over_images() -> None:
    predicted, truth = np.concatenate([PREDICTED, TRUTH]), np.zeros((2, 4, 2))
    assert keypoints.pck(predicted, truth, SIZES * 2, thresholds=[0.05]) == pytest.approx([(2 + 4) / 8])


def test_hidden_joints_do_not_count_and_lost_ones_miss() -> None:
    visible = [[True, True, False, False]]
    assert keypoints.pck(PREDICTED, TRUTH, SIZES, visible).tolist() == [0.5, 1, 1]
    lost = PREDICTED.copy()
    lost[0, 0] = np.nan
    assert keypoints.pck(lost, TRUTH, SIZES, visible).tolist() == [0, 0.5, 0.5]


def test_a_truth_that_is_not_known_does_not_count() -> None:
    truth = TRUTH.copy()
    truth[0, 3] = np.nan
    assert keypoints.pck(PREDICTED, truth, SIZES).tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_nothing_visible_is_nan() -> None:
    assert np.isnan(keypoints.pck(PREDICTED, TRUTH, SIZES, np.zeros((1, 4), bool))).all()


@pytest.mark.parametrize(
    ("predicted", "sizes", "visible"),
    [
        (TRUTH[:, :3], SIZES, None),
        (TRUTH, [[100, 0]], None),
        (TRUTH, [100, 200], None),
        (TRUTH, SIZES, [True]),
    ],
)
def test_shapes_that_do_not_fit(predicted, sizes, visible) -> None:
    with pytest.raises(ValueError, match=r"must be|must both be"):
        keypoints.pck(predicted, TRUTH, sizes, visible)
