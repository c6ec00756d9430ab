"""Pieces of limbs laid over other parts of the same photo: arms before faces.

Hardly any street photo shows an arm before a head, and where both are bare only shape tells them apart. A
piece of the arm laid over the head, turned at random, has its very skin and light; so whatever is learned
from it is not learned from colours (copy and paste, as of Ghiasi et al., CVPR 2021, but of one's own parts,
which nobody has labelled).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.training.limbs import Limb
from partswap.training.views import sample, uniform

LAID = 0.25
"""Probability that a piece is tried, where a photo shows both; it is laid over unless it hides too much."""
RADII = (0.8, 2.5)
"""Of a piece, in radii of a disc of the area of what it is laid over."""
SCALES = (0.8, 1.25)
HIDDEN = 0.6
"""Of what it is laid over, the most that a piece may hide: a rim of a face tells nobody that it is one."""
LEAST = 12
"""Cells of a part map that a photo must show of each."""
EDGE = (0.3, 0.7)
"""From nothing to all of a piece: its outline is a little sharper than the part map's."""


def laid_over(
    photo: Tensor, mask: Tensor, own: Tensor, limbs: Sequence[Limb], mirror: bool, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay pieces of limbs over what they are said to lie over, in some photos.

    Args:
        photo: float (n, 3, H, W) in [0, 1]; mask: float (n, 1, H, W), foreground; own: float (n, K, h, w),
            part posterior inside the foreground, zero where it is left open; limbs: those with ``over``;
            mirror: whether mirror images share parts, so that pieces may be mirrored.

    Returns:
        the three, changed alike; what a piece reaches beyond the subject is foreground too.
    """
    for limb in limbs:
        photo, mask, own = _one_limb(photo, mask, own, limb, mirror, g)
    return photo, mask, own


def _one_limb(
    photo: Tensor, mask: Tensor, own: Tensor, limb: Limb, mirror: bool, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    n, h, w = len(own), own.shape[-2], own.shape[-1]
    size = (photo.shape[-2], photo.shape[-1])
    inside = F.interpolate(mask, size=(h, w), mode="area")
    seen = own * inside
    ours, others = (seen[:, [part - 1 for part in parts]].sum(1) for parts in (limb.parts, limb.over))
    number, area = ((one > 0.5).sum((1, 2)) for one in (ours, others))
    on = (torch.rand(n, generator=g, device=g.device) < LAID) & (number >= LEAST) & (area >= LEAST)
    start, goal = _somewhere(ours > 0.5, g), _somewhere(others > 0.5, g)
    radius = uniform((n,), *RADII, g) * (area / math.pi).sqrt()
    piece = (ours * _disc(start, radius, (h, w))).unsqueeze(1)
    piece = F.interpolate(piece, size=size, mode="bilinear") * mask
    turn, scale = uniform((n,), -math.pi, math.pi, g), uniform((n,), *SCALES, g)
    flip = 1.0 - 2.0 * (torch.rand(n, generator=g, device=g.device) < 0.5 * mirror).float()

    def moved(x: Tensor, to: tuple[int, int]) -> Tensor:
        return sample(x, _grid(start, goal, turn, scale, flip, to, size), "zeros")

    laid = moved(torch.cat([photo, piece], 1), size)
    weight = ((laid[:, 3:] - EDGE[0]) / (EDGE[1] - EDGE[0])).clamp(0.0, 1.0) * on.view(-1, 1, 1, 1).float()
    of_limb = torch.zeros(own.shape[1], device=own.device)
    of_limb[[part - 1 for part in limb.parts]] = 1.0
    parts = moved(own * of_limb.view(1, -1, 1, 1), (h, w))
    parts = parts / (parts.sum(1, keepdim=True) + 1e-4)
    small = F.interpolate(weight, size=(h, w), mode="area")
    hides = (small[:, 0] * (others > 0.5)).sum((1, 2)) > HIDDEN * area
    weight, small = (one * ~hides.view(-1, 1, 1, 1) for one in (weight, small))
    # parts are shares of what is known: a thin rim of the piece must not stand for all that is left open
    open_still = (own.sum(1, keepdim=True) < 0.5) & (small < 0.5) & (inside > 0.5)
    own = torch.lerp(own, parts, small) * ~open_still
    return torch.lerp(photo, laid[:, :3], weight), torch.maximum(mask, weight), own


def _somewhere(on: Tensor, g: torch.Generator) -> Tensor:
    """A cell where bool (n, h, w) is true, any one where it is nowhere: (n, 2), x and y in [-1, 1]."""
    _, h, w = on.shape
    flat = on.flatten(1).float()
    flat = torch.where(flat.sum(1, keepdim=True) > 0, flat, 1.0)
    cell = torch.multinomial(flat, 1, generator=g)[:, 0]
    x, y = cell % w, torch.div(cell, w, rounding_mode="floor")
    return torch.stack([(x + 0.5) / w * 2 - 1, (y + 0.5) / h * 2 - 1], 1)


def _cells(size: tuple[int, int], device: torch.device) -> Tensor:
    """Middles of cells, (1, h, w, 2), x and y in [-1, 1]."""
    y, x = ((torch.arange(s, device=device) + 0.5) / s * 2 - 1 for s in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).unsqueeze(0)


def _disc(middle: Tensor, radius: Tensor, size: tuple[int, int]) -> Tensor:
    """1.0 within ``radius`` (n,) cells of ``middle`` (n, 2), else 0.0: (n, h, w)."""
    half = torch.tensor([size[1] / 2, size[0] / 2], device=middle.device)
    away = (_cells(size, middle.device) - middle.view(-1, 1, 1, 2)) * half
    return (away.norm(dim=-1) <= radius.view(-1, 1, 1)).float()


def _grid(
    start: Tensor,
    goal: Tensor,
    turn: Tensor,
    scale: Tensor,
    flip: Tensor,
    to: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Where each of (n, *to) cells looks so that what is at ``start`` comes to ``goal``, turned by radians,
    scaled and mirrored by a sign about it; ``size``: of the photo, whose aspect is kept."""
    half = torch.tensor([size[1] / 2, size[0] / 2], device=start.device)
    away = (_cells(to, start.device) - goal.view(-1, 1, 1, 2)) * half
    c, s = (f(turn).div(scale).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    x = (c * away[..., 0] + s * away[..., 1]) * flip.view(-1, 1, 1)
    y = c * away[..., 1] - s * away[..., 0]
    return torch.stack([x, y], -1) / half + start.view(-1, 1, 1, 2)
