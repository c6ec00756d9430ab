"""NMI and ARI against cases worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from partswap.metrics import clustering


@pytest.mark.parametrize("score", [clustering.nmi, clustering.ari])
def test_equal_up_to_names_is_one(score) -> None:
    assert score(np.array([[0, 5, 0], [3, 0, 0], [0, 0, 2]])) == pytest.approx(1)


@pytest.mark.parametrize("score", [clustering.nmi, clustering.ari])
def test_one_cluster_on_both_sides_is_one(score) -> None:
    assert score(np.array([[7]])) == 1


@pytest.mark.parametrize("score", [clustering.nmi, clustering.ari])
def test_nothing_is_nan(score) -> None:
    assert math.isnan(score(np.zeros((3, 2), np.int64)))


def test_independent_is_zero() -> None:
    table = np.array([[50, 50], [50, 50]])
    assert clustering.nmi(table) == pytest.approx(0)
    assert clustering.ari(table) == pytest.approx(0, abs=0.01)
    assert clustering.nmi(np.array([[5, 5]])) == 0


def test_nmi_by_hand() -> None:
    # Classes 2 + 2, clusters 2 + 1 + 1: knowing the cluster tells the class, so I = H(C) = ln 2.
    # H(P) = 1.5 ln 2.
    table = np.array([[2, 0], [0, 1], [0, 1]])
    assert clustering.nmi(table) == pytest.approx(2 * 1 / (1 + 1.5))


def test_ari_by_hand() -> None:
    # Pairs of 4 things: 6. Together in both 1; in clusters 1, in classes 2; expected 1 * 2 / 6, maximum 1.5.
    table = np.array([[2, 0], [0, 1], [0, 1]])
    assert clustering.ari(table) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))


def test_ari_of_large_counts_does_not_overflow() -> None:
    assert clustering.ari(np.array([[10**10, 0], [0, 10**10]])) == pytest.approx(1)


def test_foreground_table_pools_and_drops_the_true_background() -> None:
    tables = np.array([[[9, 1, 2], [8, 3, 4]], [[7, 10, 20], [6, 30, 40]]])
    assert clustering.foreground_table(tables).tolist() == [[11, 22], [33, 44]]


def test_ari_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    p, c = rng.integers(0, 5, 60), rng.integers(0, 4, 60)
    c[p == 2] = 1
    pairs = list(itertools.combinations(range(60), 2))
    same_p, same_c = ([bool(a[i] == a[j]) for i, j in pairs] for a in (p, c))
    both = sum(x and y for x, y in zip(same_p, same_c, strict=True))
    expected = sum(same_p) * sum(same_c) / len(pairs)
    table = np.histogram2d(p, c, bins=(5, 4))[0].astype(np.int64)
    by_pairs = (both - expected) / ((sum(same_p) + sum(same_c)) / 2 - expected)
    assert clustering.ari(table) == pytest.approx(by_pairs)
