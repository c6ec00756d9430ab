"""The photos again through a random window: zoomed in (half bodies, portraits) or out (small figures)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALES = (0.35, 1.6)
"""Smallest and largest window, in parts of the frame (PROTOCOL: framing)."""


@dataclass(frozen=True)
class Window:
    """A window with the frame's aspect: its top left corner and its size, as fractions of the frame (may
    reach outside).
    """

    left: float
    top: float
    scale: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Window:
        """Scale uniform in SCALES; inside the frame if it is smaller than the frame, around it if it is
        larger.
        """
        scale = rng.uniform(*SCALES)
        # Negative where the window is larger than the frame: its corner then lies before the frame's corner.
        room = 1 - scale
        return cls(left=room * rng.uniform(), top=room * rng.uniform(), scale=scale)

    def _indices(self, height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows (h, 1) and columns (1, w) of the frame that the window shows; outside the frame they are out
        of range.
        """
        size = [max(1, round(self.scale * side)) for side in (height, width)]
        start = [round(self.top * height), round(self.left * width)]
        rows, columns = (np.arange(n, dtype=np.intp) + s for n, s in zip(size, start, strict=True))
        return rows[:, None], columns[None, :]

    def crop_photo(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the window shows of a photo (H, W, 3): uint8 (h, w, 3), the photo's border repeated outside of
        it.
        """
        rows, columns = self._indices(*rgb.shape[:2])
        return rgb[rows.clip(0, rgb.shape[0] - 1), columns.clip(0, rgb.shape[1] - 1)]

    def crop_labels(self, labels: NDArray[np.uint8], ignore: int = 255) -> NDArray[np.uint8]:
        """What the window shows of a label map (H, W): uint8 (h, w), `ignore` outside, because nobody
        labelled that.
        """
        rows, columns = self._indices(*labels.shape)
        height, width = labels.shape
        shown = labels[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return np.where(inside, shown, ignore).astype(np.uint8)
