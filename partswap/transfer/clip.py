"""The look of a photo's parts on every frame of a clip.

The frames' part maps are steadied over time first (see `partswap.steady`); each frame is then registered with
the source by itself, so that frames run side by side. Measured, that alone takes two thirds of the jitter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partswap.clip import steadied, through_pool
from partswap.errors import UsageError
from partswap.transfer.pair import Options, Pair
from partswap.video import Clip, write_clip

if TYPE_CHECKING:
    from partswap.segmentation import Model, Segmentation

__all__ = ["ClipTransfer"]


@dataclass(frozen=True)
class ClipTransfer:
    """What is carried to each frame; see `partswap.transfer` for `parts` and `to`."""

    model: Model
    source: Segmentation
    parts: str
    to: str | None
    options: Options
    person: int = 1
    source_person: int = 1

    def write(
        self,
        clip: Clip,
        path: Path,
        overwrite: bool = False,
        watch: Callable[[Iterable[Any]], Iterator[Any]] = iter,
    ) -> dict[str, Any]:
        """Write the changed clip, `.mp4`. watch: passes frames on, and may count them.

        Returns frames, fps, width, height, changed (frames in which something was), what ran, and for each
        part its name, `to`, and frames in which it was changed.

        Raises:
            ImageError: the clip cannot be read to its end. PartswapError: the source does not show a part, or
                the disk is full. Nothing is written then.
        """
        frames = changed = 0
        size = (0, 0)
        counts: dict[tuple[str, str], int] = {}
        with (
            write_clip(path, clip.fps, overwrite) as writer,
            closing(through_pool(steadied(self.model, clip), self._frame)) as done,
        ):
            for picture, names in watch(done):
                writer.write(picture)
                size = picture.shape[:2]
                frames += 1
                changed += bool(names)
                for name in names:
                    counts[name] = counts.get(name, 0) + 1
        return {
            "frames": frames,
            "fps": round(clip.fps, 3),
            "width": size[1],
            "height": size[0],
            "changed": changed,
            **self.model.source,
            "parts": [{"name": name, "to": to, "frames": n} for (name, to), n in counts.items()],
        }

    def _frame(self, target: Segmentation) -> tuple[np.ndarray, list[tuple[str, str]]]:
        """The changed frame uint8 (H, W, 3), and the parts (name, to) that were changed."""
        try:
            pair = Pair(self.source, target, self.model.engine, self.person, self.source_person)
        except UsageError:
            if self.person == 1:
                raise
            return target.image.rgb, []  # this frame shows fewer people
        done = pair.transfer(self.parts, self.to, self.options)
        return done.image, [(part["name"], part["to"]) for part in done.record["parts"]]
