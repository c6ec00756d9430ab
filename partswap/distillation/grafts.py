"""Part maps of subjects that the photo's lower edge cuts, from photos in which they are whole.

A net that learned from whole bodies takes a cut one for a whole one: where the photo ends it sees feet, and
a shirt above them is a leg. Shown the same photo with the lower half of somebody else set below it, it is
surer, and right: what those pixels are then is what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.discovery.step import normalise
from partswap.distillation.targets import STRIDE, confidence, doubtful, ends_below
from partswap.training.data import PhotoSet
from partswap.training.views import grid_at, sample, sample_antialiased

LEVELS = (0.25, 0.35, 0.45, 0.55, 0.65, 0.8)
"""Where a whole body is cut for its lower half, as shares of its height."""
DONORS = 4
"""How many bodies are tried at each level; what the net sees is averaged over them."""
MARGIN = 0.03
"""How much surer the net must be with a lower half below than without, for what it sees then to count."""
AGREED = 0.8
"""Where it sees the same on this share of the foreground, with and without, that counts."""
UPRIGHT = 1.6
"""Least ratio of a donor's height to its width."""
SMALLER, LARGER = 0.75, 1.5
"""How large the picture of the two is, against a training photo: to find the level, and to see the parts of
either in their detail."""


EDGE = 4
"""An edge of a subject is where half of so many rows of its mask are."""


@dataclass(frozen=True)
class Ends:
    """Where a subject is cut, in pixels of the photos, all (n,): the row y, the middle and width of what is
    foreground there."""

    y: Tensor
    middle: Tensor
    width: Tensor


def _row(on: Tensor, y: Tensor) -> Ends:
    """The extent of masks at rows ``y`` and just above: on float (n, H, W) of 0 and 1; y int64 (n,)."""
    n, _, w = on.shape
    rows = (y.view(n, 1) - torch.arange(EDGE, device=on.device)).clamp(min=0)
    row = on.gather(1, rows.view(n, EDGE, 1).expand(n, EDGE, w)).mean(1) >= 0.5
    xs = torch.arange(w, device=on.device, dtype=torch.float32)
    first = torch.where(row, xs, torch.full_like(xs, w)).amin(1).clamp(max=w - 1)
    last = torch.maximum(torch.where(row, xs, torch.full_like(xs, -1)).amax(1), first)
    return Ends(y.float(), (first + last + 1) / 2, last - first + 1)


def _top_and_bottom(on: Tensor) -> tuple[Tensor, Tensor]:
    """First and last row with foreground, int64 (n,) each: on (n, H, W)."""
    rows = on.amax(2)
    h = rows.shape[1]
    return rows.argmax(1), h - 1 - rows.flip(1).argmax(1)


@torch.no_grad()
def complete_from_donors(
    predict: Callable[[Tensor], Tensor],
    photos: PhotoSet,
    targets: Tensor,
    g: torch.Generator,
    *,
    precision: torch.dtype = torch.float32,
    batch: int = 16,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Look again at photos that end before their subjects do, with a lower half below.

    Nothing is done where most photos end so (that is how these subjects are shown), or where there is nobody
    whole.

    Args:
        predict: normalised photos (n, 3, H, W) -> posteriors (n, K, H/4, W/4), without background.
        targets: uint8 (N, K, h, w), of :func:`partswap.distillation.targets.part_targets`, changed in place
            where the net is surer of the completed body.

    Returns:
        bool (N,), which photos may be learned from although they end before their subjects do: the net is
        surer of the completed body, or sees there what it saw before.
    """
    assert photos.masks is not None
    cut = ends_below(photos)
    completed = torch.zeros_like(cut)
    donors = _donors(targets, photos)
    if not cut.any() or cut.float().mean() > 0.5 or len(donors) < DONORS:
        return completed

    def seen_by(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision is torch.bfloat16):
            return predict(x).float()

    indices = cut.nonzero()[:, 0]
    done = 0
    for index in indices.split(batch):
        picked = donors[torch.randint(len(donors), (DONORS, len(index)), generator=g, device=g.device)]
        mask = F.interpolate(photos.masks[index].float() / 255, size=targets.shape[-2:], mode="area")
        found = targets[index].float() / 255
        level = _level(seen_by, photos, index, picked, mask)
        seen = _look(seen_by, photos, index, picked, level, LARGER)
        alone = confidence(_alone(seen_by, photos, index), mask)
        better = confidence(seen, mask) > torch.maximum(confidence(found, mask), alone) + MARGIN
        same = (seen.argmax(1, keepdim=True) == found.argmax(1, keepdim=True)) * mask
        completed[index] = better | (same.sum((1, 2, 3)) > AGREED * mask.sum((1, 2, 3)))
        found[better] = seen[better]
        targets[index] = (found * 255).round().to(torch.uint8)
        done += len(index)
        if report is not None:
            report(done, len(indices))
    return completed


def _donors(targets: Tensor, photos: PhotoSet) -> Tensor:
    """Photos of upright subjects with a lower end, of which the net is sure: int64 (n,)."""
    assert photos.masks is not None
    on = (photos.masks[:, 0] > 127).to(torch.uint8)
    height = on.amax(2).sum(1)
    width = on.amax(1).sum(1)
    whole = ~doubtful(targets, photos)
    return (whole & (height > UPRIGHT * width) & (height > on.shape[1] // 3)).nonzero()[:, 0]


def _level(
    predict: Callable[[Tensor], Tensor], photos: PhotoSet, index: Tensor, donors: Tensor, mask: Tensor
) -> Tensor:
    """The level at which the net is surest of each photo ``index``: (n,)."""
    best = torch.full((len(index),), -1.0, device=index.device)
    level = torch.zeros_like(best)
    for value in LEVELS:
        tried = torch.full_like(best, value)
        sure = confidence(_look(predict, photos, index, donors, tried, SMALLER), mask)
        level = torch.where(sure > best, tried, level)
        best = torch.maximum(best, sure)
    return level


def _look(
    predict: Callable[[Tensor], Tensor],
    photos: PhotoSet,
    index: Tensor,
    donors: Tensor,
    level: Tensor,
    larger: float,
) -> Tensor:
    """What the net sees above the lower halves of ``donors`` (d, n), on average: (n, K, h/4, w/4)."""
    looks = [_with_lower_half(predict, photos, index, donor, level, larger) for donor in donors]
    return torch.stack(looks).mean(0)


def _alone(predict: Callable[[Tensor], Tensor], photos: PhotoSet, index: Tensor) -> Tensor:
    """What the net sees in the photos as they are, at the size of the larger picture: (n, K, h/4, w/4)."""
    h, w = photos.images.shape[-2:]
    picture = F.interpolate(photos.images[index].float() / 255, size=_size(h, w, LARGER), mode="bilinear")
    return F.interpolate(predict(normalise(picture)), size=(h // STRIDE, w // STRIDE), mode="area")


def _size(h: int, w: int, larger: float) -> tuple[int, int]:
    """Shape of a picture that is so much larger than a photo, in steps that every net takes."""
    return max(32, round(h * larger / 32) * 32), max(32, round(w * larger / 32) * 32)


def _with_lower_half(
    predict: Callable[[Tensor], Tensor],
    photos: PhotoSet,
    index: Tensor,
    donor: Tensor,
    level: Tensor,
    larger: float,
) -> Tensor:
    """Posteriors of the photos ``index``, (n, K, h/4, w/4), seen above the lower halves of ``donor``.

    The width of the donor at its cut is brought to the photo's last row of foreground, and set below it.
    """
    assert photos.masks is not None
    n, (h, w) = len(index), photos.images.shape[-2:]
    size = _size(h, w, larger)
    on = ((photos.masks[index] > 127) & (photos.inside[index] > 0))[:, 0].float()
    other = (photos.masks[donor] > 127)[:, 0].float()
    _, last = _top_and_bottom(on)
    top, bottom = _top_and_bottom(other)
    ends = _row(on, last)
    start = _row(other, (top + level * (bottom - top)).long())
    scale = (ends.width / start.width).clamp(0.2, 5.0)  # pixels of the photo per pixel of the donor
    here = photos.inside[index][:, 0]
    first = here.amax(2).argmax(1).float()
    across = here.amax(1).sum(1).float()
    tall = ends.y + 1 - first + scale * 1.05 * (bottom - start.y + 1)
    step = torch.maximum(tall / size[0], across / size[1])  # pixels of the photo per pixel of the picture
    centre = here.amax(1).argmax(1).float() + across / 2
    x = centre.view(n, 1) + (torch.arange(size[1], device=on.device) + 0.5 - size[1] / 2) * step.view(n, 1)
    y = first.view(n, 1) + (torch.arange(size[0], device=on.device) + 0.5) * step.view(n, 1)
    below = (y > (ends.y + 1).view(n, 1)).float().view(n, 1, size[0], 1)
    xd = start.middle.view(n, 1) + (x - ends.middle.view(n, 1)) / scale.view(n, 1)
    yd = start.y.view(n, 1) + (y - (ends.y + 1).view(n, 1)) / scale.view(n, 1)
    upper = sample_antialiased(photos.images[index].float() / 255, grid_at(x, y, (h, w)), step)
    lower = sample_antialiased(photos.images[donor].float() / 255, grid_at(xd, yd, (h, w)), step / scale)
    posterior = predict(normalise(torch.lerp(upper, lower, below)))
    # Back: where each pixel of the part map, in the photo, is in the picture.
    rows = (torch.arange(h // STRIDE, device=on.device) + 0.5) * STRIDE
    columns = (torch.arange(w // STRIDE, device=on.device) + 0.5) * STRIDE
    px = (columns.view(1, -1) - centre.view(n, 1)) / step.view(n, 1) + size[1] / 2
    py = (rows.view(1, -1) - first.view(n, 1)) / step.view(n, 1)
    return sample(posterior, grid_at(px, py, size))
