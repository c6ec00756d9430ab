"""Part maps to learn from, whose parts keep to one appearance in each photo.

A net that knows parts by their place takes the side of a trunk for an arm where arms hang, and as much where
they are raised. Where an arm is bare and the trunk is not, the photo tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.appearance import drawn_to_appearance
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.puppets import Limb

FINER = 2
"""How much finer than before part maps are, to hold the borders that colours give."""
OTHERWISE = 0.15
"""Least likelihood of a colour: lower than when one photo is segmented, as errors average out over many."""


def alike(parts: Parts, limbs: Sequence[Limb] = ()) -> list[int]:
    """Which parts share one appearance, K numbers from 0: those of one name, and those of one limb."""
    names = [part.name for part in parts]
    first = {name: names.index(name) for name in names}
    group = [first[name] for name in names]
    for limb in limbs:
        joined = {group[part - 1] for part in limb.parts}
        group = [min(joined) if one in joined else one for one in group]
    return [sorted(set(group)).index(one) for one in group]


def targets_drawn(
    targets: Tensor, photos: PhotoSet, groups: Sequence[int], report: Callable[[int, int], None] | None = None
) -> Tensor:
    """Part maps drawn to the appearance of their parts.

    Args:
        targets: uint8 (N, K, h, w), of :func:`partswap.distillation.targets.part_targets`; zero where they
            are left open, and then they stay so; groups: of :func:`alike`.

    Returns:
        uint8 (N, K, FINER * h, FINER * w).
    """
    assert photos.masks is not None
    h, w = (FINER * s for s in targets.shape[-2:])
    drawn = torch.zeros((*targets.shape[:2], h, w), dtype=torch.uint8, device=targets.device)
    for i, target in enumerate(targets):
        if target.any():
            mask = F.interpolate(photos.masks[i : i + 1].float() / 255, size=(h, w), mode="area")[0]
            given = F.interpolate(target[None].float() / 255, size=(h, w), mode="bilinear")[0]
            part_map = torch.cat([1 - mask, given * mask]).cpu().numpy()
            pixels = photos.images[i].permute(1, 2, 0).contiguous().cpu().numpy()
            found = drawn_to_appearance(part_map, pixels, groups, OTHERWISE)[1:]
            found = found / np.maximum(found.sum(axis=0), 1e-6)
            outside = mask < 0.02  # too little of it to have a colour
            seen = torch.where(outside, given, torch.from_numpy(found).to(given))
            drawn[i] = (seen * 255).round().to(torch.uint8)
        if report is not None and (i + 1) % 32 == 0:
            report(i + 1, len(targets))
    return drawn
