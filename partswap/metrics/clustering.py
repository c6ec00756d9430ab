"""Agreement of two clusterings from their contingency table: normalised mutual information and adjusted Rand
index.

Both take a table of counts (P, C): pixels with predicted id p and true class c. Only non-empty rows and
columns matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def foreground_table(tables: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pool the tables of many images (N, P, C) over labelled foreground pixels: (P, C-1).

    Pixels are chosen by the label (any class but background); a pixel predicted as background there stays a
    cluster of its own, so that missing foreground costs (Choudhury et al. 2021, FG-NMI and FG-ARI).
    """
    return tables[:, :, 1:].sum(0)


def _entropy(counts: NDArray[np.float64]) -> float:
    """Shannon entropy in nats of a distribution given by counts (n,)."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def nmi(table: NDArray[np.int64]) -> float:
    """Normalised mutual information, 0..1: 2 I(P; C) / (H(P) + H(C)), the arithmetic mean as normaliser
    (Strehl and Ghosh 2002).

    1 if both sides are one single cluster, NaN if the table is empty.
    """
    counts = np.asarray(table, np.float64)
    if counts.sum() == 0:
        return float("nan")
    rows, columns, joint = _entropy(counts.sum(1)), _entropy(counts.sum(0)), _entropy(counts.ravel())
    if rows + columns == 0:
        return 1.0
    return float(np.clip(2 * (rows + columns - joint) / (rows + columns), 0.0, 1.0))


def ari(table: NDArray[np.int64]) -> float:
    """Adjusted Rand index, -0.5..1: (index - expected) / (maximum - expected) over pairs of pixels (Hubert
    and Arabie 1985).

    1 if the clusterings are equal, about 0 for chance, NaN if the table is empty.
    """
    counts = np.asarray(table, np.float64)
    total = counts.sum()
    if total == 0:
        return float("nan")
    pairs = _pairs(counts).sum()
    rows, columns = _pairs(counts.sum(1)).sum(), _pairs(counts.sum(0)).sum()
    possible = _pairs(np.asarray(total))
    expected = rows * columns / possible if possible > 0 else 0.0
    maximum = (rows + columns) / 2
    if maximum == expected:
        return 1.0
    return float((pairs - expected) / (maximum - expected))


def _pairs(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of unordered pairs within each count: n (n - 1) / 2, elementwise."""
    return counts * (counts - 1) / 2
