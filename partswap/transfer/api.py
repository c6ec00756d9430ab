"""`partswap.transfer`: silhouette -> correspond -> warp -> fill -> compose, and the record of it."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike, fspath
from typing import TYPE_CHECKING

from partswap.imaging.load import LoadedImage
from partswap.segmentation import Model, Segmentation, load
from partswap.transfer.pair import Options, Pair, Transferred
from partswap.transfer.plan import Names
from partswap.transfer.record import Clock

if TYPE_CHECKING:
    from partswap.engine import Engine
    from partswap.imaging.load import ImageSource

__all__ = ["transfer"]


def transfer(
    source: ImageSource | LoadedImage | Segmentation,
    target: ImageSource | LoadedImage | Segmentation,
    parts: Names,
    *,
    to: Names | None = None,
    model: Model | str | PathLike[str] | None = None,
    strength: float = 1.0,
    border: float | None = None,
    person: int = 1,
    source_person: int = 1,
    seed: int = 0,
) -> Transferred:
    """Give parts of the target the look that they have in the source; keep every other pixel.

    Args:
        source, target: photos in any form that `partswap.segment` takes, or its results.
        parts: names or ids, `"chest,arm"` or `["chest", "arm"]`; `"all"` is every part but head and neck.
        to: the target's parts, where they are others: one for each of `parts`, or one for all of them.
        model: a loaded model, or as `partswap.load` takes it; None is the embedded one.
        strength, border, seed: see `Options`. person, source_person: 1 the main person of the target and of
            the source, 2 the next, ...

    Returns:
        `.image` uint8 (H, W, 3) and `.record` with width, height, parts (see `record.part_record`),
        missing, border_pixels, strength, seed, seconds and what ran.

    Raises:
        UsageError, ImageError, ModelError; PartswapError when the source does not show a part.
    """
    options = Options(strength, border, seed)
    clock = Clock()
    with clock("segment"):
        first, known = _segmented(source, model)
        second, engine = _segmented(target, model)
    return Pair(first, second, known or engine, person, source_person, clock).transfer(parts, to, options)


def _segmented(
    photo: ImageSource | LoadedImage | Segmentation,
    model: Model | str | PathLike[str] | None,
) -> tuple[Segmentation, Engine | None]:
    """A photo's segmentation, and the engine that made it where it is known."""
    if isinstance(photo, Segmentation):
        return photo, model.engine if isinstance(model, Model) else None
    if not isinstance(model, Model):
        model = _loaded(None if model is None else fspath(model))
    return model.for_transfer().segment(photo), model.engine


@lru_cache(maxsize=1)
def _loaded(model: str | None) -> Model:
    return load(model)
