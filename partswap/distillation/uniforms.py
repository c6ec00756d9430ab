"""Photos whose sleeves cannot be told from the body: trunk and sleeves get one flat colour.

A dark jacket that nearly fills a portrait has neither an edge nor a fold between its front and its sleeves;
only the outline says where the arms are. Where folds show, in the same photo before, the part map is right,
and it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.distillation.sleeves import UNLIKE, colours_of, distance_from
from partswap.training.puppets import Limb
from partswap.training.views import uniform

DRAWN = 0.5
"""Probability that a photo of one cloth gets it."""
DARK, TINT = (0.02, 0.2), 0.04
"""Grey, and how far each channel is from it, of those that are dark: every second one; the others keep the
trunk's mean colour."""
CONTRAST = (0.1, 0.5)
"""Least and most that stays of the contrast: folds, prints, shading."""
CLOTH = 0.7
"""Least share of the limbs that looks like the trunk, and so is of one cloth with it."""
MOTLEY = 0.03
"""Most variance of a trunk's colour: an open coat is not of one cloth."""


def in_uniform(photo: Tensor, mask: Tensor, own: Tensor, limbs: Sequence[Limb], g: torch.Generator) -> Tensor:
    """Give some photos one flat colour on the trunk and on sleeves of the same cloth.

    Args:
        photo: float (n, 3, H, W) in [0, 1]; mask: float (n, 1, H, W), foreground; own: float (n, K, h, w),
            part posterior inside the foreground, zero where it is left open; limbs: the trunk is what they
            may lie before; those that lie before nothing wear nothing.

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    size = (own.shape[-2], own.shape[-1])
    small = F.interpolate(photo, size=size, mode="area")
    seen = own * F.interpolate(mask, size=size, mode="area")
    for limb in limbs:
        if limb.before:
            photo = _one_limb(photo, mask, small, seen, limb, g)
    return photo


def _one_limb(
    photo: Tensor, mask: Tensor, small: Tensor, seen: Tensor, limb: Limb, g: torch.Generator
) -> Tensor:
    """Of :func:`in_uniform`, one kind of limb; small (n, 3, h, w) is the photo, seen (n, K, h, w) the
    posterior, both at the part map's size."""
    n = len(seen)
    trunk, sleeves = (
        seen[:, [part - 1 for part in parts]].sum(1, keepdim=True) for parts in (limb.before, limb.parts)
    )
    colour, variance = (x[:, 0] for x in colours_of(small, trunk))
    like = (distance_from(small, colour[:, None], variance[:, None])[:, 0] < UNLIKE**2).float()
    like = F.avg_pool2d(like, 5, 1, 2)  # hands stay bare, specks do not
    alike = (sleeves * like).sum((1, 2, 3)) > CLOTH * sleeves.sum((1, 2, 3))
    of_one = (variance[:, 0, 0, 0] < MOTLEY) & (trunk.sum((1, 2, 3)) > 1)
    on = alike & of_one & (torch.rand(n, generator=g, device=g.device) < DRAWN)
    dark = uniform((n, 1, 1, 1), *DARK, g) + uniform((n, 3, 1, 1), -TINT, TINT, g)
    paint = torch.where(torch.rand(n, 1, 1, 1, generator=g, device=g.device) < 0.5, dark, colour)
    painted = paint + (photo - colour) * uniform((n, 1, 1, 1), *CONTRAST, g)
    cloth = F.interpolate(trunk + sleeves * like, size=photo.shape[-2:], mode="bilinear")
    weight = (2 * cloth).clamp(max=1.0) * mask * on.view(-1, 1, 1, 1).float()
    return torch.lerp(photo, painted.clamp(0.0, 1.0), weight)
