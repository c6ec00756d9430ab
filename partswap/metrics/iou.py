"""Intersection over union of label maps, computed from contingency tables.

One pass over the pixels of an image (`contingency`) gives a small table of counts; every score below is
arithmetic on those tables. Symbols: N images, P predicted ids (row 0 is the predicted background), C classes
(column 0 is the true background).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]
Tables = NDArray[np.int64]
Mapping = NDArray[np.int64]

UNMAPPED = -1


def at_size(labels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A label map (h, w) at another size (height, width): nearest neighbour, pixel centres aligned; the same
    array if the size fits.
    """
    if labels.shape == (height, width):
        return labels
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    return labels[rows.astype(np.intp)[:, None], columns.astype(np.intp)[None, :]]


def contingency(
    predicted: NDArray[np.integer],
    truth: NDArray[np.integer],
    predicted_ids: int,
    classes: int,
    ignore: int | None = 255,
) -> Tables:
    """Counts (predicted_ids, classes) int64 of pixels with predicted id p and true class c; pixels whose
    truth is `ignore` are left out.

    `predicted` and `truth` are integer arrays of one shape, with values in 0..predicted_ids-1 and
    0..classes-1 (or `ignore`). Raises ValueError if shapes differ or a value is out of range.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and label {truth.shape} differ in size")
    p, t = predicted.ravel(), truth.ravel()
    if ignore is not None:
        keep = t != ignore
        if not keep.all():
            p, t = p[keep], t[keep]
    if p.size == 0:
        return np.zeros((predicted_ids, classes), np.int64)
    if p.min() < 0 or p.max() >= predicted_ids:
        raise ValueError(f"predicted id {int(p.max())} is not among 0..{predicted_ids - 1}")
    if t.min() < 0 or t.max() >= classes:
        raise ValueError(
            f"label value {int(t.max())} is not among the classes 0..{classes - 1} (ignore is {ignore})"
        )
    flat = np.bincount(p.astype(np.int64) * classes + t, minlength=predicted_ids * classes)
    return flat.reshape(predicted_ids, classes).astype(np.int64)


def contingency_tables(
    predictions: Sequence[NDArray[np.uint8]],
    labels: Sequence[NDArray[np.uint8]],
    classes: int,
    ignore: int | None = 255,
    predicted_ids: int | None = None,
) -> Tables:
    """One table an image: (N, P, C) int64. A prediction of another size than its label is brought to the
    label's size (nearest).

    P is `predicted_ids`, or one more than the largest id that is predicted anywhere.
    """
    if len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    if predicted_ids is None:
        predicted_ids = 1 + max((int(p.max()) for p in predictions if p.size), default=0)
    tables = np.zeros((len(labels), predicted_ids, classes), np.int64)
    for table, predicted, truth in zip(tables, predictions, labels, strict=True):
        table[:] = contingency(at_size(predicted, *truth.shape), truth, predicted_ids, classes, ignore)
    return tables


def pair_iou(tables: Tables) -> Array:
    """IoU of every id with every class in every image: (N, P, C) float64, NaN where an image holds neither.

    IoU(p, c) = |p and c| / (|p| + |c| - |p and c|), counted over the pixels that are not ignored.
    """
    union = tables.sum(2, keepdims=True) + tables.sum(1, keepdims=True) - tables
    return np.divide(tables, union, out=np.full(tables.shape, np.nan), where=union > 0)


def mean_over_images(values: Array) -> Array:
    """Mean over axis 0 that skips NaN; NaN where an entry has no value in any image. (N, ...) -> (...)."""
    counted = ~np.isnan(values)
    total, number = np.where(counted, values, 0.0).sum(0), counted.sum(0)
    return np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)


def best_classes(tables: Tables) -> Mapping:
    """Many-to-one mapping (P,) int64: each part goes to the class, background included, with the best mean
    over images of IoU.

    The mean runs over the images that hold the part or the class (PROTOCOL: paper protocol of Braun, Esser,
    Ommer 2020). Id 0 is the predicted background and stays background; a part that is never predicted goes to
    background.
    """
    scores = np.nan_to_num(mean_over_images(pair_iou(tables)), nan=-1.0)
    mapping = scores.argmax(1).astype(np.int64)
    mapping[tables.sum((0, 2)) == 0] = 0
    mapping[0] = 0
    return mapping


def one_to_one(tables: Tables) -> Mapping:
    """Hungarian mapping (P,) int64 of parts to body classes, best sum of mean IoU; parts that are left over
    are UNMAPPED (-1).

    Id 0 stays background. Raises ValueError if there are fewer parts than classes (both without background).
    """
    parts, classes = tables.shape[1] - 1, tables.shape[2] - 1
    if parts < classes:
        raise ValueError(f"one-to-one matching needs at least {classes} parts, there are {parts}")
    scores = np.nan_to_num(mean_over_images(pair_iou(tables)), nan=0.0)[1:, 1:]
    rows, columns = linear_sum_assignment(scores, maximize=True)
    mapping = np.full(parts + 1, UNMAPPED, np.int64)
    mapping[0] = 0
    mapping[rows + 1] = columns + 1
    return mapping


def merge(tables: Tables, mapping: Mapping, groups: int) -> Tables:
    """Add up the rows of each table that go to one group: (N, P, C) -> (N, groups, C). UNMAPPED rows are
    dropped.
    """
    chosen = np.asarray(mapping)[None, :] == np.arange(groups)[:, None]  # (groups, P)
    return np.einsum("gp,npc->ngc", chosen.astype(np.int64), tables)


def class_iou(tables: Tables, mapping: Mapping) -> Array:
    """Per-image IoU of every class after merging: (N, C) float64, NaN where the image does not contain the
    class.

    The class sizes come from the unmerged tables, so pixels of UNMAPPED parts still count as part of the
    class that they miss.
    """
    classes = tables.shape[2]
    merged = merge(tables, mapping, classes)
    index = np.arange(classes)
    hit = merged[:, index, index]
    size = tables.sum(1)
    union = merged.sum(2) + size - hit
    return np.divide(hit, union, out=np.full(hit.shape, np.nan), where=size > 0)


def class_scores(tables: Tables, mapping: Mapping) -> Array:
    """Per class, per-image IoU averaged over the images that contain the class: (C,) float64, NaN for a class
    in no image.
    """
    return mean_over_images(class_iou(tables, mapping))


def overall(scores: Array) -> float:
    """Unweighted mean of the class scores (C,) without background (index 0); classes in no image (NaN) are
    left out.
    """
    return float(mean_over_images(np.asarray(scores, np.float64)[1:]))


def foreground_iou(tables: Tables) -> float:
    """IoU of 'any part' against 'any class but background', averaged over the images that have labelled
    foreground; NaN if none has.
    """
    hit = tables[:, 1:, 1:].sum((1, 2))
    size = tables[:, :, 1:].sum((1, 2))
    union = tables.sum((1, 2)) - tables[:, 0, 0]
    values = np.divide(hit, union, out=np.full(hit.shape, np.nan), where=size > 0)
    return float(mean_over_images(values))
