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

from partswap.crossings import OF_BODY, Colours, of_one_colour
from partswap.islands import islands
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb

FINER = 2
"""How much finer than before part maps are, to hold the borders that colours give."""
SEVERAL = 0.25
"""A limb has several colours if more than this share of it is not the body's."""


def alike(parts: Parts) -> list[int]:
    """Which parts are of one kind, K numbers from 0: those of one name."""
    names = [part.name for part in parts]
    first = [names.index(name) for name in names]
    return [sorted(set(first)).index(one) for one in first]


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
    groups = of_one_colour(len(parts), [limb.parts for limb in limbs])
    h, w = (FINER * s for s in targets.shape[-2:])
    drawn = torch.zeros((*targets.shape[:2], h, w), dtype=torch.uint8, device=targets.device)
    for i, target in enumerate(targets):
        if target.any():
            mask = F.interpolate(photos.masks[i : i + 1].float() / 255, size=(h, w), mode="area")[0]
            given = F.interpolate(target[None].float() / 255, size=(h, w), mode="bilinear")[0]
            part_map = torch.cat([1 - mask, given * mask]).cpu().numpy()
            pixels = photos.images[i].permute(1, 2, 0).contiguous().cpu().numpy()
            found = _drawn(part_map, given.cpu().numpy(), Colours(part_map, pixels, groups), limbs)
            drawn[i] = (torch.from_numpy(found).to(given) * 255).round().to(torch.uint8)
        if report is not None and (i + 1) % 32 == 0:
            report(i + 1, len(targets))
    return drawn


def _drawn(part_map: np.ndarray, given: np.ndarray, colours: Colours, limbs: Sequence[Limb]) -> np.ndarray:
    """The posterior ``given``, float32 (K, h, w), of one photo, with its limbs drawn."""
    ids, on = np.arange(1, len(part_map)), part_map[0] < 0.5
    for limb in limbs:
        own = np.isin(ids, limb.parts)
        given = _limb_drawn(given, colours, own, on)
        if limb.before:
            given = nothing_but(given, own, colours.crossing(given, limb.parts, limb.before, limb.bare))
        if limb.never:
            around = np.isin(ids, limb.never)
            best, known = given.argmax(axis=0), on & (given.sum(axis=0) > 0.5)
            for island in islands(known & own[best], known & around[best], known):
                here = (slice(None), *island.box)
                of = island.lies_in(given, around)
                given[here] = nothing_but(given[here], of, island.piece)
    return given


def _limb_drawn(given: np.ndarray, colours: Colours, own: np.ndarray, on: np.ndarray) -> np.ndarray:
    """One limb against the rest of the body.

    Args:
        given: float32 (K, h, w), posterior; own: bool (K,), the limb's parts; on: bool (h, w), foreground.
    """
    as_body = colours.fit(given, ~own)
    odds = given * np.where(own[:, None, None], colours.fit(given, own), as_body)
    found: np.ndarray = odds / np.maximum(odds.sum(axis=0), 1e-6)
    limb = on & (found[own].sum(axis=0) > 0.5)
    unlike = as_body < OF_BODY
    # A shirt's sleeve and its side look the same, and where forearms are bare the limb is not all sleeve.
    if (limb & unlike).sum() > SEVERAL * limb.sum():
        found[:, limb & ~unlike] = 0
    return found


def nothing_but(given: np.ndarray, own: np.ndarray, where: np.ndarray) -> np.ndarray:
    """``given``, float32 (K, h, w), with nothing but the parts ``own``, bool (K,), at ``where``, bool (h, w);
    their shares stay, and what none of them has a share of is left open."""
    found = given.copy()
    of_limb = given[:, where] * own[:, None]
    found[:, where] = of_limb / np.maximum(of_limb.sum(axis=0), 1e-6)
    return found
