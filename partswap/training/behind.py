"""What a limb that is taken away shows: the body behind it, where it lay before the body.

Left as a hole, it would show other surroundings in the midst of a body, and teach that what looks strange
there, as a lap between arms does, is background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 0.045
"""Limbs of up to twice this width, in heights of the photo, are seen to lie before a body."""
COARSE = 4
"""What is drawn there is soft, and found at so many times fewer pixels a side."""
RIM = 256
"""What is narrower than four of so many parts of the height is no body, but a rim of the limb, left uncut."""


def without_limb(both: Tensor, parts: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """Take a limb out of photos; where it lay before the body, that is drawn as what is around it. Of several
    limbs take those before the others first.

    A place lies before the body if it is the limb's and within the closing of the rest (what a disc that fits
    nowhere into the surroundings covers, here a square; Serra, Image Analysis and Mathematical Morphology,
    1982). Colours and parts there are means of the body's nearby.

    Args:
        both: float (n, 4, h, w) in [0, 1], photo and foreground mask; parts: float (n, K, h', w'), posterior
            inside the foreground; cut: float (n, 1, h, w), 1 where the limb is.

    Returns:
        the first two without it; its place keeps its colours and parts where there is no body behind it, and
        is no foreground.
    """
    h = cut.shape[-2]
    reach = max(1, round(REACH * h))
    body = both[:, 3:] * (1 - cut)
    behind = _closed(body, reach) * cut
    small = (max(1, h // COARSE), max(1, cut.shape[-1] // COARSE))
    *seen, weight = (F.interpolate(one, size=small, mode="area") for one in (both[:, :3], parts, body))
    around = _nearby(torch.cat(seen, 1), weight, max(1, 2 * reach // COARSE))
    colours = F.interpolate(around[:, :3], size=cut.shape[-2:], mode="bilinear")
    told = F.interpolate(around[:, 3:], size=parts.shape[-2:], mode="bilinear")
    told = told * (told.sum(1, keepdim=True) > 0.5)  # what is open behind it stays so
    hidden = F.interpolate(behind, size=parts.shape[-2:], mode="area")
    photo = torch.lerp(both[:, :3], colours, behind)
    return torch.cat([photo, torch.maximum(body, behind)], 1), torch.lerp(parts, told, hidden)


def _closed(body: Tensor, reach: int) -> Tensor:
    """The closing of a mask (n, 1, h, w) without its rims, 0.0 or 1.0, found at half of the pixels a side."""
    h, w = body.shape[-2:]
    half = F.interpolate(body, size=(max(1, h // 2), max(1, w // 2)), mode="area")
    rim, reach = max(1, h // RIM), max(1, reach // 2)
    solid = _largest(-_largest(-(half > 0.5).float(), rim), rim)
    # what lies beyond the frame is as its edge is, not body
    solid = F.pad(solid, [reach] * 4, mode="replicate")
    closed = -_largest(-_largest(solid, reach), reach)
    return F.interpolate(closed[..., reach:-reach, reach:-reach], size=(h, w), mode="nearest")


def _largest(x: Tensor, reach: int) -> Tensor:
    """The largest value within ``reach`` rows and columns; (n, 1, h, w)."""
    tall = F.max_pool2d(x, (2 * reach + 1, 1), 1, (reach, 0))
    return F.max_pool2d(tall, (1, 2 * reach + 1), 1, (0, reach))


def _nearby(x: Tensor, weight: Tensor, reach: int) -> Tensor:
    """Mean of ``x`` (n, C, h, w) within ``reach`` rows and columns, by ``weight`` (n, 1, h, w); 0 where that
    is nothing. Twice over, so that what is nearest counts most."""
    known = torch.cat([x * weight, weight], 1)
    for _ in range(2):
        known = F.avg_pool2d(known, (2 * reach + 1, 1), 1, (reach, 0))
        known = F.avg_pool2d(known, (1, 2 * reach + 1), 1, (0, reach))
    return known[:, :-1] / known[:, -1:].clamp(min=1e-6)
