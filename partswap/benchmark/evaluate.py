"""One pass over labelled photos with any predictor: every table of PROTOCOL's segmentation part."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partswap.benchmark import leak as leaking
from partswap.benchmark import trivial
from partswap.benchmark.framing import Window
from partswap.benchmark.part_iou import plain, row, score_tables, strict_scores
from partswap.metrics import clustering, iou

Labels = NDArray[np.uint8]
Predictor = Callable[[NDArray[np.uint8]], Labels]
"""RGB uint8 (H, W, 3) -> label map uint8 (H, W), 0 background, 1..K parts."""

MAPPING_RULE = (
    "each part goes to the class, background included, with the best mean over images of IoU; "
    "paper: fitted on the scored images; "
    "strict: fitted on one seeded half, scored on the other, both ways, averaged"
)


@dataclass(frozen=True)
class Photo:
    """A labelled photo: rgb uint8 (H, W, 3); label uint8 (h, w), the same view at its own size; mask bool (h,
    w) or None.
    """

    name: str
    rgb: NDArray[np.uint8]
    label: Labels
    mask: NDArray[np.bool_] | None = None


def evaluate(
    predict: Predictor,
    photos: Iterable[Photo],
    class_names: Sequence[str],
    parts: int,
    *,
    ignore: int = 255,
    seed: int = 0,
    framing: bool = False,
    leak: bool = False,
    part_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score a predictor of `parts` parts; photos are read once, one at a time.

    Returns plain Python values: images, parts, seed, classes, ignore, mapping_rule; model (see
    `score_tables`); trivial {row name: the same}; named (parts merged by `part_names`, one name per id 1..K)
    or None; framing {whole, framed, drop, ...} or None; leak {colour, warp} or None. Raises ValueError if
    there is no photo or a label or prediction is out of range.
    """
    pass_over = _Pass(predict, len(class_names), parts, ignore, seed, framing, leak)
    for photo in photos:
        pass_over.add(photo)
    tables = pass_over.stacked()
    if "model" not in tables:
        raise ValueError("no labelled images to score")
    return {
        "images": len(tables["model"]),
        "parts": parts,
        "seed": seed,
        "classes": list(class_names),
        "ignore": ignore,
        "mapping_rule": MAPPING_RULE,
        "model": score_tables(tables["model"], class_names, seed),
        "named": _named(tables["model"], part_names, class_names, seed) if part_names else None,
        "trivial": {
            name: score_tables(table, class_names, seed)
            for name, table in tables.items()
            if name.startswith(tuple(trivial.SHAPES)) and len(table) == len(tables["model"])
        },
        "framing": _framing(tables, class_names, seed) if framing else None,
        "leak": pass_over.leak_report() if leak else None,
    }


class _Pass:
    """Collects contingency tables and disagreements, so that no photo has to stay in memory."""

    def __init__(
        self, predict: Predictor, classes: int, parts: int, ignore: int, seed: int, framing: bool, leak: bool
    ) -> None:
        self.predict, self.classes, self.parts, self.ignore, self.seed = predict, classes, parts, ignore, seed
        self.framing, self.leak = framing, leak
        self.tables: dict[str, list[NDArray[np.int64]]] = {}
        self.colour: list[float] = []
        self.warp: list[float] = []

    def add(self, photo: Photo) -> None:
        """Predict a photo (and its changed copies) and file the counts."""
        predicted = self.predict(photo.rgb)
        own = iou.at_size(predicted, *photo.label.shape)
        self._file("model", own, photo.label, self.parts)
        truth = trivial.true_foreground(photo.label, self.ignore)
        self._file_trivial("true foreground", truth, photo.label)
        self._file_trivial("model's foreground", own > 0, photo.label)
        if photo.mask is not None:
            self._file_trivial("given mask", photo.mask, photo.label)
        # Each photo has its own seeded stream, so that its window and warp do not depend on which others are
        # scored.
        stream = (self.seed, zlib.crc32(os.fsencode(photo.name)))
        if self.framing:
            self._add_framed(photo, np.random.default_rng((*stream, 1)))
        if self.leak:
            self._add_leak(photo, predicted, np.random.default_rng((*stream, 2)))

    def _add_framed(self, photo: Photo, rng: np.random.Generator) -> None:
        window = Window.random(rng)
        label = window.crop_labels(photo.label, self.ignore)
        self._file("framed", self.predict(window.crop_photo(photo.rgb)), label, self.parts)
        rows, columns = trivial.SHAPES["8x4 grid"]
        grid = trivial.cells(trivial.true_foreground(label, self.ignore), rows, columns)
        self._file("framed grid", grid, label, rows * columns)

    def _add_leak(self, photo: Photo, predicted: Labels, rng: np.random.Generator) -> None:
        recoloured = self.predict(leaking.jitter_colours(photo.rgb, rng))
        self.colour.append(leaking.disagreement(predicted, recoloured))
        height, width = predicted.shape
        warp = leaking.Warp.random(height, width, rng)
        warped = self.predict(warp.photo(photo.rgb))
        self.warp.append(leaking.disagreement(warp.labels(predicted), warped, warp.inside))

    def _file_trivial(self, what: str, foreground: NDArray[np.bool_], label: Labels) -> None:
        for shape, (rows, columns) in trivial.SHAPES.items():
            cells = trivial.cells(foreground, rows, columns)
            self._file(f"{shape} of the {what}", cells, label, rows * columns)

    def _file(self, name: str, predicted: Labels, label: Labels, parts: int) -> None:
        predicted = iou.at_size(predicted, *label.shape)
        table = iou.contingency(predicted, label, parts + 1, self.classes, self.ignore)
        self.tables.setdefault(name, []).append(table)

    def stacked(self) -> dict[str, NDArray[np.int64]]:
        """Tables by name, each (N, P, C)."""
        return {name: np.stack(tables) for name, tables in self.tables.items()}

    def leak_report(self) -> dict[str, float | None]:
        """Mean over photos of the share of foreground pixels that changed their id."""
        return {
            "colour": plain(float(iou.mean_over_images(np.array(self.colour)))),
            "warp": plain(float(iou.mean_over_images(np.array(self.warp)))),
        }


def _named(
    tables: NDArray[np.int64], part_names: Sequence[str], class_names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Scores of the named groups: ids that share a name are one part (PROTOCOL: on raw parts and on named
    groups).
    """
    if len(part_names) != tables.shape[1] - 1:
        raise ValueError(f"{len(part_names)} names for {tables.shape[1] - 1} parts")
    names = list(dict.fromkeys(part_names))
    groups = np.array([0, *(names.index(name) + 1 for name in part_names)], np.int64)
    merged = iou.merge(tables, groups, len(names) + 1)
    return {**score_tables(merged, class_names, seed), "names": names}


def _framing(tables: dict[str, NDArray[np.int64]], class_names: Sequence[str], seed: int) -> dict[str, Any]:
    """The framing table. Parts keep the meaning that they have on the whole photos: the mapping is never
    fitted on the framed ones.
    """
    whole, framed = tables["model"], tables["framed"]
    before, after = _kept_mapping(whole, whole, seed), _kept_mapping(whole, framed, seed)
    grid = tables["8x4 grid of the true foreground"]
    grid_drop = iou.overall(_kept_mapping(grid, grid, seed)) - iou.overall(
        _kept_mapping(grid, tables["framed grid"], seed)
    )
    pooled = clustering.foreground_table(framed)
    return {
        "whole": row(before, class_names),
        "framed": row(after, class_names),
        "drop": plain(iou.overall(before) - iou.overall(after)),
        "drop_8x4_grid": plain(grid_drop),
        "foreground_iou": plain(iou.foreground_iou(framed)),
        "fg_nmi": plain(clustering.nmi(pooled)),
        "fg_ari": plain(clustering.ari(pooled)),
    }


def _kept_mapping(fit: NDArray[np.int64], score: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Strict class scores (C,), or with a single photo those of the mapping fitted on it."""
    if len(fit) > 1:
        return strict_scores(fit, score, seed=seed)
    return iou.class_scores(score, iou.best_classes(fit))
