"""Helping a person to name parts: a sheet of what each one covers, and proposals from a few labelled
photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from partswap.benchmark.evaluate import Photo
    from partswap.parts import Part, Parts
    from partswap.segmentation import Model, Segmentation

__all__ = ["Proposal", "parts_sheet", "propose_names"]

_COLUMNS = 9
_DIMMED = 0.25  # of the light that is left outside the part: enough to see where on the body it lies


@dataclass(frozen=True)
class Proposal:
    """The class that a part covers best; name is None where that is the background, or the part is never
    seen.

    iou: intersection over union of part and class, mean over the photos that show either.
    """

    id: int
    name: str | None
    iou: float


def parts_sheet(photos: Iterable[Segmentation], parts: Parts, cell_height: int = 200) -> np.ndarray:
    """A contact sheet, uint8 (H, W, 3), a row a photo: the photo with all parts, then each part lit up.

    More than 9 pictures a row are broken into blocks, one below the other, so that the sheet stays readable.
    """
    from partswap.imaging.draw import sheet

    titles = ["all", *(_title(part) for part in parts)]
    rows = [_row(found, parts, cell_height) for found in photos]  # one photo at full size at a time
    blocks = [slice(begin, begin + _COLUMNS) for begin in range(0, len(titles), _COLUMNS)]
    return sheet(
        [row[block] for block in blocks for row in rows],
        captions=[titles[block] for block in blocks for _ in rows],
        cell_height=cell_height,
    )


def propose_names(
    model: Model, photos: Iterable[Photo], classes: Sequence[str], ignore: int = 255
) -> list[Proposal]:
    """For every part the class with the best mean IoU over labelled photos (several parts may get the same
    class).

    classes: names by label value, 0 is background; pixels labelled `ignore` do not count. Raises ValueError
    if there are no photos.
    """
    from partswap.metrics import iou

    count = len(model.parts) + 1
    tables = [
        iou.contingency(
            iou.at_size(model.segment(photo.rgb).labels, *photo.label.shape),
            photo.label,
            count,
            len(classes),
            ignore,
        )
        for photo in photos
    ]
    if not tables:
        raise ValueError("naming parts needs at least one labelled photo")
    stacked = np.stack(tables)
    best = iou.best_classes(stacked)
    scores = np.nan_to_num(iou.mean_over_images(iou.pair_iou(stacked)))
    return [
        Proposal(
            part.id, classes[best[part.id]] if best[part.id] else None, float(scores[part.id, best[part.id]])
        )
        for part in model.parts
    ]


def _title(part: Part) -> str:
    return str(part.id) if part.name == f"part{part.id}" else f"{part.id} {part.name}"


def _row(found: Segmentation, parts: Parts, cell_height: int) -> list[np.ndarray]:
    small = _shrunk(found, cell_height)
    labels = small.labels
    grey = small.image.rgb.mean(axis=2, keepdims=True) * _DIMMED
    row = [_tinted(small, parts)]
    for part in parts:
        lit = np.where((labels == part.id)[..., None], small.image.rgb, grey)
        row.append(lit.astype(np.uint8))
    return row


def _tinted(found: Segmentation, parts: Parts) -> np.ndarray:
    palette = np.array(parts.palette(), np.float32)
    tint = np.where(
        (found.labels > 0)[..., None], 0.5 * found.image.rgb + 0.5 * palette[found.labels], found.image.rgb
    )
    return tint.astype(np.uint8)


def _shrunk(found: Segmentation, height: int) -> Segmentation:
    """The same segmentation over a photo no higher than a cell, so that a sheet of huge photos stays
    cheap."""
    from dataclasses import replace

    from PIL import Image

    tall, wide = found.image.rgb.shape[:2]
    if tall <= height:
        return found
    size = (height, max(1, round(wide * height / tall)))
    rgb = np.asarray(Image.fromarray(found.image.rgb).resize(size[::-1], Image.Resampling.BOX))
    return replace(
        found, image=replace(found.image, rgb=rgb, alpha=None), frame=replace(found.frame, photo=size)
    )
