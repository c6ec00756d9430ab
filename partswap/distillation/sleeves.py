"""Photos whose limbs wear the body's colours: sleeves that are painted on.

Where a bare arm lies before a shirt, colours say which is which, and the part map is right. Where a shirt's
sleeve does, only shape says so, and the part map is a guess. A sleeve painted on the bare arm, in the
shirt's colours, keeps the part map and takes the colours' hint away: appearance moves from part to part, and
shape stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.training.limbs import Limb
from partswap.training.views import uniform

DRAWN = 0.6
"""Probability that a photo whose limb could wear a sleeve does."""
LENGTHS = (1.5, 6.0)
"""How far from the middle of what it hangs on a sleeve reaches, in radii of a disc of that part's area:
from a short sleeve to beyond the hand."""
NEAR = 9
"""Within how many pixels of the part map a limb touches what it hangs on."""
UNLIKE = 1.7
"""From how many standard deviations a colour is not the body's, with SPREAD added to the variance."""
SPREAD = 0.003
BARE = 0.6
"""Least share of a limb that is not the body's colour: with less, it wears a sleeve already."""
CONTRAST = (0.3, 1.2)
"""Least and most of a limb's contrast that stays: folds and shading."""


def with_sleeves(
    photo: Tensor, mask: Tensor, own: Tensor, limbs: Sequence[Limb], g: torch.Generator
) -> Tensor:
    """Paint sleeves on the bare limbs of some photos.

    Args:
        photo: float (n, 3, H, W) in [0, 1]; mask: float (n, 1, H, W), foreground; own: float (n, K, h, w),
            part posterior inside the foreground, zero where it is left open.

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    size = (own.shape[-2], own.shape[-1])
    small = F.interpolate(photo, size=size, mode="area")
    seen = own * F.interpolate(mask, size=size, mode="area")
    for limb in limbs:
        of_limb = torch.zeros(own.shape[1], dtype=torch.bool, device=own.device)
        of_limb[[part - 1 for part in limb.parts]] = True
        photo = _one_limb(photo, mask, small, seen, of_limb, g)
    return photo


def _one_limb(
    photo: Tensor, mask: Tensor, small: Tensor, seen: Tensor, of_limb: Tensor, g: torch.Generator
) -> Tensor:
    """``photo`` with sleeves on one kind of limb; small (n, 3, h, w) is the photo and seen (n, K, h, w) the
    posterior, both at the part map's size; of_limb: bool (K,)."""
    n = len(seen)
    limb = seen[:, of_limb].sum(1, keepdim=True)
    colours, variances = _colours(small, seen)
    # it wears what it touches most; where that has its own colour, either it has a sleeve or the part map may
    # be wrong
    touching = (seen * F.max_pool2d(limb, 2 * NEAR + 1, 1, NEAR)).sum((2, 3)).masked_fill(of_limb, 0.0)
    which = touching.argmax(1)
    row = torch.arange(n, device=seen.device)
    colour, variance, wears = (x[row, which].unsqueeze(1) for x in (colours, variances, seen))
    bare = limb * (_distance(small, colour, variance)[:, 0] > UNLIKE**2)
    skin, skin_variance = _colours(small, bare)
    on = (bare.sum((1, 2, 3)) > BARE * limb.sum((1, 2, 3))) & (touching.amax(1) > 1)
    on &= torch.rand(n, generator=g, device=g.device) < DRAWN
    length = uniform((n, 1, 1, 1), *LENGTHS, g)
    paint = F.interpolate(
        F.max_pool2d(limb, 3, 1, 1) * _within(wears, length), size=photo.shape[-2:], mode="bilinear"
    )
    # what has the limb's colour rather than the body's, so that a border that the part map misses is met
    to_skin = _distance(photo, skin, skin_variance)[:, 0]
    ours = (_distance(photo, colour, variance)[:, 0] - to_skin).sigmoid() * (to_skin < UNLIKE**2)
    contrast = (variance / skin_variance)[:, 0].sqrt().clamp(*CONTRAST)
    painted = colour[:, 0] + (photo - skin[:, 0]) * contrast
    weight = (2 * paint).clamp(max=1.0) * ours * mask * on.view(-1, 1, 1, 1).float()
    return torch.lerp(photo, painted.clamp(0.0, 1.0), weight)


def _colours(photo: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean colours of areas, (n, k, 3, 1, 1), and variances about them, (n, k, 1, 1, 1), with SPREAD added;
    photo (n, 3, h, w), weights (n, k, h, w)."""
    total = weights.sum((2, 3)) + 1e-4
    mean = torch.einsum("nchw,nkhw->nkc", photo, weights) / total.unsqueeze(2)
    square = torch.einsum("nchw,nkhw->nkc", photo.square(), weights) / total.unsqueeze(2)
    variance = (square - mean.square()).mean(2).clamp(min=0.0) + SPREAD
    return mean[..., None, None], variance[..., None, None, None]


def _distance(photo: Tensor, colour: Tensor, variance: Tensor) -> Tensor:
    """Squared distance from colours (n, k, 3, 1, 1), in standard deviations: (n, k, 1, H, W)."""
    return (photo.unsqueeze(1) - colour).square().mean(2, keepdim=True) / variance


def _within(part: Tensor, radii: Tensor) -> Tensor:
    """Where it is nearer than ``radii`` to the middle of ``part``, in radii of a disc of its area: float
    (n, 1, h, w), 0 or 1."""
    _, _, h, w = part.shape
    area = part.sum((2, 3), keepdim=True) + 1e-4
    y = torch.arange(h, device=part.device, dtype=part.dtype).view(1, 1, h, 1)
    x = torch.arange(w, device=part.device, dtype=part.dtype).view(1, 1, 1, w)
    cy, cx = ((part * axis).sum((2, 3), keepdim=True) / area for axis in (y, x))
    return ((y - cy).square() + (x - cx).square() < radii.square() * area / torch.pi).to(part.dtype)
