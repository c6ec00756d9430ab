"""COCO run lengths: cases worked out by hand, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from partswap.imaging.rle import decode_rle, encode_rle, label_runs


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        # column-major runs, background first; each number five bits a character, lowest first, plus 48
        ([[0, 0], [0, 0]], "4"),  # runs 4
        ([[1, 1], [1, 1]], "04"),  # runs 0 4
        ([[0, 1], [0, 1]], "22"),  # runs 2 2
        ([[1, 0], [0, 1]], "0120"),  # runs 0 1 2 1, the fourth as 1 - 1 = 0
        ([[0] * 10 + [1] * 10], "::"),  # runs 10 10
        ([[0] * 20], "d0"),  # run 20 = 10100b: the fifth bit is a sign, so a second character follows
        ([[0] * 100], "T3"),  # run 100 = 00100b, then 3; 36 + 48 = 'T'
    ],
)
def test_by_hand(mask, counts):
    assert encode_rle(np.array(mask)) == {"size": list(np.shape(mask)), "counts": counts}


def test_fourth_run_is_written_as_a_difference():
    # runs 1 2 3 4 2: the fourth as 4 - 2 = 2, the fifth as 2 - 3 = -1, which is 31 + 48 = 'O'
    mask = np.repeat([0, 1, 0, 1, 0], [1, 2, 3, 4, 2])[None]
    assert encode_rle(mask)["counts"] == "1232O"


@given(arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 3)))
def test_round_trip_of_every_id(labels):
    for part_id, rle in enumerate(label_runs(labels, 4), start=1):
        assert (decode_rle(rle) == (labels == part_id)).all()


def test_long_runs():
    mask = np.zeros((3000, 2000), bool)
    mask[100:2900, 500:1500] = True
    assert (decode_rle(encode_rle(mask)) == mask).all()


@pytest.mark.parametrize("counts", ["", "5", "3", "T", "\x01", "1O"])
def test_counts_that_do_not_fill_the_size(counts):
    with pytest.raises(ValueError, match=r"run|counts"):
        decode_rle({"size": [2, 2], "counts": counts})
