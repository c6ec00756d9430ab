"""A short training from random weights finds the parts of drawn figures better than trivial rows do."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from partswap.benchmark.part_iou import score_label_maps
from partswap.benchmark.trivial import SHAPES, cells
from partswap.discovery.model import DiscoveryModel
from partswap.discovery.step import normalise
from partswap.discovery.train import discover, new_model
from partswap.training.data import PhotoSet, load_photos
from partswap.training.log import RunLog
from partswap.training.options import TrainOptions
from partswap.training.train import open_run

SIZE = 64
PHOTOS = 200
STEPS = 250
PARTS = 12
FIRST_UNSEEN, UNSEEN = 5000, 100
"""Figures with these numbers are scored; the training never sees them, and labels never at all."""

Labels = list[NDArray[np.uint8]]


def overall(maps: Labels, labels: Labels, figures: ModuleType) -> float:
    """Strict overall part IoU: parts are named on one half of the figures, scored on the other."""
    strict = score_label_maps(maps, labels, figures.CLASSES)["strict"]
    assert strict is not None
    return float(strict["overall"])


@torch.no_grad()
def part_maps(model: DiscoveryModel, photos: PhotoSet) -> Labels:
    """The teacher's parts in the given foreground."""
    model.eval()
    logits = model.teacher(normalise(photos.images.float() / 255))
    ids = F.interpolate(logits, size=(SIZE, SIZE), mode="bilinear").argmax(1) + 1
    assert photos.masks is not None
    return list((ids * (photos.masks[:, 0] > 127)).to(torch.uint8).numpy())


@pytest.fixture(scope="module")
def unseen(
    figures: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PhotoSet, Labels, dict[str, float]]:
    """Photos and masks of figures outside the training, their labels, and what trivial rows score on them.
    Model and rows get the same foreground, the true one."""
    folder = tmp_path_factory.mktemp("unseen")
    photos, masks = figures.write_figures(folder, UNSEEN, SIZE, first=FIRST_UNSEEN)
    labels = [figures.figure(FIRST_UNSEEN + i, SIZE)[1] for i in range(UNSEEN)]
    rows = {
        name: overall([cells(label > 0, *shape) for label in labels], labels, figures)
        for name, shape in SHAPES.items()
    }
    return load_photos(photos, (SIZE, SIZE), masks=masks), labels, rows


def test_parts_of_drawn_figures_are_found_from_random_weights(
    unseen: tuple[PhotoSet, Labels, dict[str, float]], figures: ModuleType, tmp_path: Path
) -> None:
    photos, labels, rows = unseen
    seen, masks = figures.write_figures(tmp_path, PHOTOS, SIZE)
    options = TrainOptions(
        data=seen, masks=masks, out=tmp_path / "run", parts=PARTS, size=(SIZE, SIZE), batch=16, steps=STEPS,
        backbone="test_byobnet", pretrained="none", device="cpu", quiet=True,
    )  # fmt: skip
    with RunLog(options.out, quiet=True) as log:
        run = open_run(options, log, None)
        untrained = overall(part_maps(new_model(run), photos), labels, figures)
        model = discover(run)
    trained = overall(part_maps(model, photos), labels, figures)
    print(f"untrained {untrained:.3f}, trained {trained:.3f}, {rows}")
    # Measured: .595 to .615 with three seeds, against .47 for bands and .51 for the grid of 32 cells; .31
    # without anchoring, but .57 without reconstruction's pull, which this margin lets through: tests of the
    # single terms' gradients hold that (docs/research.md).
    assert trained > max(rows.values()) + 0.04, (trained, rows)
    assert untrained < min(rows.values()), (untrained, rows)
