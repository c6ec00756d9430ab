"""Wide photos, seen as large as they are: most training frames are upright, and who lies is small in them."""

from __future__ import annotations

import torch
from torch import Tensor

from partswap.training.data import PhotoSet
from partswap.training.views import grid_at, sample

LARGER = 1.1
"""A photo is wide if the other way up of its frame shows it larger than this."""


def wide(photos: PhotoSet) -> Tensor:
    """Which photos a frame of the other orientation shows larger: bool (N,)."""
    return _step(photos, flipped=False) > LARGER * _step(photos, flipped=True)


def in_wide_frame(photos: PhotoSet) -> PhotoSet:
    """The same photos in a frame of the other orientation, as large as they fit: frames (H, W) -> (W, H)."""
    assert photos.masks is not None
    h, w = photos.images.shape[-2:]
    grid = _grid((w, h), (h, w), _step(photos, flipped=True))
    here = (sample(photos.inside.float(), grid, padding="zeros") > 0.5).to(torch.uint8)
    return PhotoSet(
        sample(photos.images.float(), grid).round().to(torch.uint8),
        sample(photos.masks.float(), grid).round().to(torch.uint8) * here,
        here,
        photos.partners,
        photos.names,
        photos.skipped,
    )


def from_wide_frame(targets: Tensor, photos: PhotoSet) -> Tensor:
    """Part maps of :func:`in_wide_frame`'s photos, in the frame of ``photos``: uint8 (N, K, w, h) ->
    (N, K, h, w)."""
    h, w = photos.images.shape[-2:]
    grid = _grid((h, w), (w, h), 1 / _step(photos, flipped=True), (targets.shape[-1], targets.shape[-2]))
    return sample(targets.float(), grid).round().to(torch.uint8)


def _step(photos: PhotoSet, flipped: bool) -> Tensor:
    """Pixels of the stored photo per pixel of a frame that it just fits into, the stored one or that of the
    other orientation: (N,)."""
    extent = photos.extent().float()
    frame = photos.images.shape[-2:]
    sides = torch.tensor(frame[::-1] if flipped else frame, device=extent.device)
    return (extent / sides).amax(1)


def _grid(
    frame: tuple[int, int], source: tuple[int, int], step: Tensor, size: tuple[int, int] | None = None
) -> Tensor:
    """Where each pixel of a frame (H, W) looks in a source (h, w) of the same middle, (n, *size, 2), ``step``
    pixels of the source per pixel of the frame; size: if the frame is sampled more coarsely."""
    height, width = size or frame
    rows = (torch.arange(height, device=step.device) + 0.5) / height - 0.5
    columns = (torch.arange(width, device=step.device) + 0.5) / width - 0.5
    step = step.view(-1, 1)
    return grid_at(columns * frame[1] * step + source[1] / 2, rows * frame[0] * step + source[0] / 2, source)
