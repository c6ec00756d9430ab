"""Part maps to learn from, whose limbs keep to one appearance in each photo.

A net that knows parts by their place takes the side of a trunk for an arm where arms hang, and as much where
they are raised. Where an arm is bare and the trunk is not, the photo tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.appearance import likelihoods
from partswap.distillation.crossings import crossing, nothing_but
from partswap.islands import islands
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.puppets import Limb

FINER = 2
"""How much finer than before part maps are, to hold the borders that colours give."""
OTHERWISE = 0.15
"""Least likelihood of a colour: lower than when one photo is segmented, as errors average out over many."""
SEVERAL = 0.25
"""A limb has several colours if more than this share of it is not the body's."""


def alike(parts: Parts) -> list[int]:
    """Which parts are of one kind, K numbers from 0: those of one name."""
    names = [part.name for part in parts]
    first = [names.index(name) for name in names]
    return [sorted(set(first)).index(one) for one in first]


def of_one_colour(number: int, limbs: Sequence[Limb]) -> list[int]:
    """Which parts share one colour, as many numbers from 0: those of one limb. Others do not, not even of one
    name: a thigh is in shorts where a shin is bare."""
    group = list(range(number))
    for limb in limbs:
        joined = {group[part - 1] for part in limb.parts}
        group = [min(joined) if one in joined else one for one in group]
    return [sorted(set(group)).index(one) for one in group]


def limbs_drawn(
    targets: Tensor,
    photos: PhotoSet,
    parts: Parts,
    limbs: Sequence[Limb],
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Part maps whose limbs keep to their colour. Borders between parts that are no limb stay: a hip has no
    colour of its own.

    Args:
        targets: uint8 (N, K, h, w), of :func:`partswap.distillation.targets.part_targets`; zero where they
            are left open, and then they stay so; limbs: those that are dressed do not count.

    Returns:
        uint8 (N, K, FINER * h, FINER * w); left open where a limb that has several colours has the body's.
        Without limbs, ``targets`` as they are.
    """
    assert photos.masks is not None
    limbs = [limb for limb in limbs if not limb.dressed]
    if not limbs:
        return targets
    groups = of_one_colour(len(parts), limbs)
    ids = np.arange(1, len(parts) + 1)
    h, w = (FINER * s for s in targets.shape[-2:])
    drawn = torch.zeros((*targets.shape[:2], h, w), dtype=torch.uint8, device=targets.device)
    for i, target in enumerate(targets):
        if target.any():
            mask = F.interpolate(photos.masks[i : i + 1].float() / 255, size=(h, w), mode="area")[0]
            given = F.interpolate(target[None].float() / 255, size=(h, w), mode="bilinear")[0]
            part_map = torch.cat([1 - mask, given * mask]).cpu().numpy()
            pixels = photos.images[i].permute(1, 2, 0).contiguous().cpu().numpy()
            fits = likelihoods(part_map, pixels, groups, OTHERWISE, np.arange(h * w)).reshape(-1, h, w)
            found = given.cpu().numpy()
            on = part_map[0] < 0.5
            for limb in limbs:
                own, behind = np.isin(ids, limb.parts), np.isin(ids, limb.before)
                found = _limb_drawn(found, fits, own, on)
                if behind.any():
                    seen = _bare(part_map, fits, own)
                    bare = likelihoods(seen, pixels, groups, 0.0, np.arange(h * w)).reshape(-1, h, w)
                    found = nothing_but(found, own, crossing(found, bare, own, behind, on))
                if limb.never:
                    around = np.isin(ids, limb.never)
                    best, known = found.argmax(axis=0), on & (found.sum(axis=0) > 0.5)
                    for island in islands(known & own[best], known & around[best], known):
                        here = (slice(None), *island.box)
                        of = island.lies_in(found, around)
                        found[here] = nothing_but(found[here], of, island.piece)
            drawn[i] = (torch.from_numpy(found).to(given) * 255).round().to(torch.uint8)
        if report is not None and (i + 1) % 32 == 0:
            report(i + 1, len(targets))
    return drawn


def _limb_drawn(given: np.ndarray, fits: np.ndarray, own: np.ndarray, on: np.ndarray) -> np.ndarray:
    """One limb against the rest of the body.

    Args:
        given, fits: float32 (K, h, w), posterior, and likelihoods of the colours; own: bool (K,), the
            limb's parts; on: bool (h, w), foreground.
    """
    as_body = _fit(given, fits, ~own)
    odds = given * np.where(own[:, None, None], _fit(given, fits, own), as_body)
    found: np.ndarray = odds / np.maximum(odds.sum(axis=0), 1e-6)
    limb = on & (found[own].sum(axis=0) > 0.5)
    unlike = as_body < 0.5
    # A shirt's sleeve and its side look the same, and where forearms are bare the limb is not all sleeve.
    if (limb & unlike).sum() > SEVERAL * limb.sum():
        found[:, limb & ~unlike] = 0
    return found


def _fit(given: np.ndarray, fits: np.ndarray, which: np.ndarray) -> np.ndarray:
    """How well the colours of the parts ``which``, bool (K,), go with each pixel, (h, w)."""
    share = given[which].sum(axis=0)
    found: np.ndarray = (given[which] * fits[which]).sum(axis=0) / np.maximum(share, 1e-6)
    return found


def _bare(part_map: np.ndarray, fits: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``part_map``, (K + 1, h, w), whose limb, bool (K,), is only where it does not look like the body: no
    sleeve."""
    bare = part_map.copy()
    bare[1:][own] *= _fit(part_map[1:], fits, ~own) < 0.5
    return bare
