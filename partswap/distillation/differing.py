"""Photos that a student sees otherwise than their part maps: a plain round shows them more often.

Most photos are seen nearly alike when a finished model goes on: three tenths of them hold seven tenths of
what differs (docs/research.md). Each is drawn in proportion to what is to be learned from it, the more so as
a round on a CPU shows each but a dozen times: importance sampling, as of Katharopoulos and Fleuret, Not All
Samples Are Created Equal, ICML 2018, though to learn what differs, not to estimate the mean gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.discovery.step import normalise
from partswap.training.cross_check import wider_than_outline
from partswap.training.data import PhotoSet

FLOOR = 0.5
"""What every photo has, in means of what differs: what is known must not be forgotten."""
MOST = 4.0
"""What differs counts for no more than so many means: where nearly all does, the part map may be at fault."""


@torch.no_grad()
def differing(
    student: nn.Module,
    photos: PhotoSet,
    targets: Tensor,
    batch: int = 16,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """How much of each photo a student sees otherwise than its part map, by more than an outline's width.

    Args:
        student: in eval mode; photos: with masks; targets: uint8 (N, K, h, w), posterior inside the
            foreground. Places that they leave open may be any part.

    Returns:
        float (N,), shares of the frame in [0, 1].
    """
    assert photos.masks is not None
    found = []
    for start in range(0, len(photos), batch):
        some = slice(start, start + batch)
        seen = student(normalise(photos.images[some].float() / 255)).float().argmax(1)
        size = seen.shape[-2:]
        foreground = F.interpolate(photos.masks[some].float() / 255, size, mode="bilinear")[:, 0] > 0.5
        parts = F.interpolate(targets[some].float() / 255, size, mode="bilinear")
        told = torch.where(foreground, parts.argmax(1) + 1, 0)
        # where parts are left open it is still known to be one of them
        known = ~foreground | (parts.sum(1) > 0.5) | (seen == 0)
        differs = ((seen != told) & known).unsqueeze(1)
        found.append(wider_than_outline(differs).float().mean((1, 2, 3)))
        if report is not None:
            report(min(start + batch, len(photos)), len(photos))
    return torch.cat(found)


def how_often(shares: Tensor) -> Tensor:
    """From what differs in each photo, float (N,), to how often it is drawn in proportion to others, (N,)."""
    mean = shares.mean()
    if mean <= 0:
        return torch.ones_like(shares)
    return shares.clamp(max=MOST * mean) + FLOOR * mean
