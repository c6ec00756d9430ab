"""A clip's frames through the model, steadied, and what `segment` writes of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from partswap.engine.threads import net_threads
from partswap.pipeline import in_order, segmented
from partswap.steady import Steady, small_grey
from partswap.video import Clip, write_clip

if TYPE_CHECKING:
    from partswap.imaging.load import LoadedImage
    from partswap.segmentation import Model, Segmentation

__all__ = ["segment_clip", "steadied", "through_pool"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def steadied(model: Model, clip: Clip, threads: int | None = None) -> Generator[Segmentation, None, None]:
    """Segment a clip's frames in their order, their part maps averaged over time (see `Steady`).

    Raises as `Clip.frames`.
    """
    steady = Steady()

    def with_grey(_: LoadedImage, found: Segmentation) -> tuple[Segmentation, np.ndarray]:
        return found, small_grey(found.image.rgb, found.frame.content)

    with (
        closing(clip.frames()) as frames,
        closing(segmented(model.for_frames(), frames, lambda frame: frame, with_grey, threads)) as run,
    ):
        for _, outcome in run:
            found, grey = outcome.result()
            yield replace(found, part_map=steady(grey, found.part_map))


def through_pool(
    items: Generator[Item, None, None], work: Callable[[Item], Result], threads: int | None = None
) -> Generator[Result, None, None]:
    """Do `work` on items in threads; the results come in the items' order, a few at a time in memory."""
    workers = net_threads(threads)
    with (
        closing(items),
        ThreadPoolExecutor(workers, thread_name_prefix="partswap") as pool,
        closing(in_order(pool, items, work, workers + 1)) as done,
    ):
        for _, outcome in done:
            yield outcome.result()


@dataclass(frozen=True)
class _Drawn:
    """One frame's pictures by kind, and how many pixels each label has, int64 (256,)."""

    pictures: dict[str, np.ndarray]
    pixels: np.ndarray


def segment_clip(
    model: Model,
    clip: Clip,
    ids: tuple[int, ...],
    paths: dict[str, Path],
    overwrite: bool = False,
    threads: int | None = None,
    watch: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> dict[str, Any]:
    """Write a clip's label maps and overlays as clips.

    Args:
        ids: the parts that are kept. paths: by kind: `labels` (`.mkv`, lossless, grey, pixel = part id),
            `overlay` (`.mp4`). watch: passes frames on, and may count them.

    Returns:
        frames, fps, width, height, what ran, and for each part its id, name and mean share of the pixels.

    Raises:
        ImageError: the clip cannot be read to its end. PartswapError: the disk is full. Nothing is written
            then.
    """

    def draw(found: Segmentation) -> _Drawn:
        found = found.only(ids)
        pictures = {kind: found.labels if kind == "labels" else found.overlay(of_clip=True) for kind in paths}
        return _Drawn(pictures, np.bincount(found.labels.ravel(), minlength=256))

    pixels, frames, size = np.zeros(256, np.int64), 0, (0, 0)
    with ExitStack() as files:
        writers = {
            kind: files.enter_context(write_clip(path, clip.fps, overwrite)) for kind, path in paths.items()
        }
        with closing(through_pool(steadied(model, clip, threads), draw, threads)) as drawn:
            for one in watch(drawn):
                for kind, picture in one.pictures.items():
                    writers[kind].write(picture)
                    size = picture.shape[:2]
                pixels += one.pixels
                frames += 1
    parts = [
        {"id": i, "name": model.parts.name(i), "share": round(float(pixels[i] / pixels.sum()), 6)}
        for i in ids
    ]
    return {
        "frames": frames, "fps": round(clip.fps, 3), "width": size[1], "height": size[0], **model.source,
        "parts": parts,
    }  # fmt: skip
