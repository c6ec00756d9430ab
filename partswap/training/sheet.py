"""Picture sheets that show where a run is: photo | part map | reconstruction | appearance swapped with a
neighbour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from partswap.imaging.draw import colorize, palette, sheet
from partswap.imaging.save import save_image

ROWS = 8


def to_pictures(x: Tensor) -> list[NDArray[np.uint8]]:
    """Normalised (B, 3, H, W) in [-1, 1] -> uint8 pictures (H, W, 3)."""
    y = ((x.float() * 0.5 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return list(y.permute(0, 2, 3, 1).cpu().numpy())


def to_labels(part_map: Tensor) -> list[NDArray[np.uint8]]:
    """Part maps (B, K + 1, h, w) -> uint8 label maps (h, w)."""
    return list(part_map.argmax(1).to(torch.uint8).cpu().numpy())


def write_sheet(path: Path, photo: Tensor, part_map: Tensor, columns: dict[str, Tensor]) -> None:
    """Write one row per photo.

    Args:
        photo: normalised (B, 3, H, W); part_map: (B, K + 1, h, w); columns: further pictures (B, 3, ?, ?) by
            heading.
    """
    size = (photo.shape[-2], photo.shape[-1])
    colours = palette(part_map.shape[1] - 1)
    full = F.interpolate(part_map.float(), size=size, mode="bilinear", align_corners=False)
    pictures = to_pictures(photo)
    maps = [colorize(labels, colours) for labels in to_labels(full)]
    blended = [
        np.where(m.any(-1, keepdims=True), p // 3 + (m // 3) * 2, p)
        for p, m in zip(pictures, maps, strict=True)
    ]
    more = {
        name: to_pictures(F.interpolate(x.float(), size=size, mode="bilinear")) for name, x in columns.items()
    }
    rows = [[pictures[i], blended[i], *(v[i] for v in more.values())] for i in range(len(pictures))]
    headings = ["photo", "parts", *more]
    if len(rows) > 4:  # two photos side by side keep the sheet from growing tall
        half = (len(rows) + 1) // 2
        rows = [rows[i] + (rows[i + half] if i + half < len(rows) else []) for i in range(half)]
        headings = headings * 2
    save_image(sheet(rows, columns=headings, cell_height=256), path, overwrite=True, quality=88)
