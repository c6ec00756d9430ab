"""Score label maps against labels: part IoU (paper and strict), one-to-one, NMI and ARI, foreground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partswap.metrics import clustering, iou

Mapper = Callable[[NDArray[np.int64]], NDArray[np.int64]]


def score_label_maps(
    predictions: list[NDArray[np.uint8]],
    labels: list[NDArray[np.uint8]],
    class_names: Sequence[str],
    ignore: int | None = 255,
    seed: int = 0,
) -> dict[str, Any]:
    """All scores of a list of label maps against their labels. Needs numpy and scipy only.

    predictions: N label maps uint8 (h, w), 0 background, 1..K parts; another size than the label's is brought
    to it by nearest neighbour.
    labels: N maps uint8 (H, W) of indices into `class_names` (index 0 is background) or `ignore`.
    Returns the dict of `score_tables`. Raises ValueError on lengths, shapes or values that do not fit.
    """
    return score_tables(
        iou.contingency_tables(predictions, labels, len(class_names), ignore), class_names, seed
    )


def score_tables(tables: NDArray[np.int64], class_names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """All scores from contingency tables (N, K+1, C) as plain Python values, None where there is no score.

    The dict holds:
    images, parts (K), seed;
    overall: that of `strict`, or of `paper` for a single image;
    paper, strict, one_to_one, one_to_one_strict: {"classes": {name: IoU}, "overall": float}; the strict ones
    are None with fewer than two images, the one-to-one ones with fewer parts than classes; those fitted on
    the scored images also carry "mapping": {part id: class name, or None for a part that is left over};
    background (IoU of that class, paper), foreground_iou, fg_nmi, fg_ari.
    """
    if tables.ndim != 3 or tables.shape[2] != len(class_names):
        raise ValueError(f"tables {tables.shape} do not fit {len(class_names)} classes")
    if tables.shape[0] == 0:
        raise ValueError("no labelled images to score")
    enough = tables.shape[1] >= tables.shape[2]
    paper = _fitted(tables, class_names, iou.best_classes)
    strict = _strict(tables, class_names, iou.best_classes, seed)
    pooled = clustering.foreground_table(tables)
    return {
        "images": int(tables.shape[0]),
        "parts": int(tables.shape[1] - 1),
        "seed": int(seed),
        "overall": (strict or paper)["overall"],
        "paper": paper,
        "strict": strict,
        "one_to_one": _fitted(tables, class_names, iou.one_to_one) if enough else None,
        "one_to_one_strict": _strict(tables, class_names, iou.one_to_one, seed) if enough else None,
        "background": plain(iou.class_scores(tables, iou.best_classes(tables))[0]),
        "foreground_iou": plain(iou.foreground_iou(tables)),
        "fg_nmi": plain(clustering.nmi(pooled)),
        "fg_ari": plain(clustering.ari(pooled)),
    }


def halves(images: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split image indices into two seeded random halves; the first is the longer one if the number is odd."""
    order = np.random.default_rng(seed).permutation(images)
    cut = (images + 1) // 2
    return np.sort(order[:cut]), np.sort(order[cut:])


def strict_scores(
    fit: NDArray[np.int64], score: NDArray[np.int64], mapper: Mapper = iou.best_classes, seed: int = 0
) -> NDArray[np.float64]:
    """Class scores (C,) with the mapping fitted on one half of `fit` and scored on the other half of `score`,
    both ways, averaged.

    `fit` and `score` are tables (N, P, C) of the same images in the same order; they differ where changed
    photos (framing) are scored with the mapping that the unchanged photos gave.
    """
    first, second = halves(len(fit), seed)
    ways = [iou.class_scores(score[b], mapper(fit[a])) for a, b in ((first, second), (second, first))]
    return iou.mean_over_images(np.stack(ways))


def plain(value: float) -> float | None:
    """A float for JSON: NaN (nothing to score) becomes None."""
    return None if np.isnan(value) else float(value)


def row(scores: NDArray[np.float64], class_names: Sequence[str]) -> dict[str, Any]:
    """{"classes": {name: IoU or None}, "overall": float or None} of class scores (C,), without background."""
    named = zip(class_names[1:], scores[1:], strict=True)
    return {"classes": {name: plain(value) for name, value in named}, "overall": plain(iou.overall(scores))}


def _fitted(tables: NDArray[np.int64], class_names: Sequence[str], mapper: Mapper) -> dict[str, Any]:
    """The row whose mapping is fitted on the scored images themselves."""
    mapping = mapper(tables)
    names = {
        k: None if c == iou.UNMAPPED else class_names[c] for k, c in enumerate(mapping.tolist()) if k > 0
    }
    return {**row(iou.class_scores(tables, mapping), class_names), "mapping": names}


def _strict(
    tables: NDArray[np.int64], class_names: Sequence[str], mapper: Mapper, seed: int
) -> dict[str, Any] | None:
    """The row whose mapping is fitted on the other half; None with fewer than two images."""
    return row(strict_scores(tables, tables, mapper, seed), class_names) if len(tables) > 1 else None
