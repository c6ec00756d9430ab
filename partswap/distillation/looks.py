"""Where the views of stage 2 look: from near and far, turned and bent, or as a photo comes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from partswap.distillation.targets import ends_below, slenderness
from partswap.training.bends import bend_at_joints, foreshorten
from partswap.training.data import PhotoSet
from partswap.training.views import WarpRange, random_grid, uniform

CLOSE = WarpRange(zoom=(1.6, 5.0), rotate=20.0, shift=0.04, bend=0.06, stretch=0.25, flip=0.5)
NEAR = WarpRange(zoom=(0.8, 2.6), rotate=25.0, shift=0.45, bend=0.08, stretch=0.25, flip=0.5)
FAR = WarpRange(zoom=(0.35, 1.0), rotate=25.0, shift=0.6, bend=0.06, stretch=0.25, flip=0.5)
TURNED = WarpRange(zoom=(0.6, 1.2), rotate=110.0, shift=0.3, bend=0.06, stretch=0.2, flip=0.5)
PLAIN = WarpRange(zoom=(0.8, 1.25), rotate=8.0, shift=0.06, bend=0.006, stretch=0.03, flip=0.5)
"""Views that end the training: photos nearly as they come. What is learned from hard views alone is a little
off on plain ones, as their sizes are distributed otherwise (Touvron et al., Fixing the train-test resolution
discrepancy, NeurIPS 2019)."""
STILL = WarpRange(flip=0.5)
"""A photo just as it comes, or its mirror image."""
POSED = WarpRange(zoom=(0.65, 1.2), rotate=50.0, shift=0.15, bend=0.02, stretch=0.1, flip=0.5)
"""A photo of somebody in another pose, about as far away as photos are taken."""
SHARES = (0.32, 0.3, 0.12)
"""Of a batch, the shares of close, near and far views; the rest is turned."""
BENT = 0.75
"""Of the turned views, the share that is bent at hip and knee as well."""
SHORTENED = 0.35
"""Of the other hard views, the share that is foreshortened."""
HIGHER = 1.3
"""How much higher than wide somebody is who stands."""
POSED_BENT, POSED_SHORTENED = 0.6, 0.35
"""Of the posed views, the shares that are bent, and foreshortened; some are both, in some only limbs move."""

PORTRAITS = 0.35
"""Of the close views, the share that looks at a subject's upper end as a portrait does."""

TURN = 8
"""What a plain round shows comes in turns of so many views."""
FROM_NEAR, NEARLY, PUPPETS = (3, 7), (5,), (0,)
"""Which of each turn are from near, as photos of a whole body hardly show a chin (after 1,800 steps without,
necks of portraits grew up to the mouth), which nearly as photos come, and, where limbs move, which are posed.
The others, half of all or more, are stills. In rounds with three of eight, and --upright, laps were lost; it
was not found out which of the two did it (docs/research.md)."""
REHEARSED_SHARES = (0.75, 0.25, 0.0)
"""Of the views from near, the shares of close, near and far ones."""
REHEARSED_PORTRAITS = 0.6
"""And of their close views, that of portraits."""

EASY_UNTIL = 0.25
"""Share of a round after which views are as hard as they get; before it they grow away from the plain
photo."""


class Kinds(NamedTuple):
    """Which views are what, one at most: bool (B,) each, on the CPU. What is none of it shows a photo nearly
    as it comes."""

    hard: Tensor
    posed: Tensor
    """Bodies bent, limbs moved, about as far away as in photos."""
    rehearsed: Tensor
    """From near, in a plain round."""
    still: Tensor
    """Photos just as they come."""


def eased(span: WarpRange, ease: float) -> WarpRange:
    """``span`` drawn towards no warp at all: ease 0 is the identity, 1 is ``span``."""
    low, high = span.zoom
    return WarpRange(
        (low**ease, high**ease),
        span.rotate * ease,
        span.shift * ease,
        span.bend * ease,
        span.stretch * ease,
        span.flip,
    )


def view_sizes(frame: tuple[int, int]) -> list[tuple[int, int]]:
    """Shapes of view that the student sees, about the area of ``frame``, multiples of 32: as is, square,
    landscape, narrow."""
    h, w = frame
    side = (h * w) ** 0.5

    def snap(value: float) -> int:
        return max(64, round(value / 32) * 32)

    return [
        (snap(h), snap(w)),
        (snap(side), snap(side)),
        (snap(side * 0.8), snap(side * 1.25)),
        (snap(h * 1.15), snap(w * 0.85)),
    ]


def upright_axis(masks: Tensor) -> Tensor:
    """The subject's upright axis: masks uint8 (n, 1, H, W) -> (n, 3), its x, top and bottom in [-1, 1]."""
    _, _, h, w = masks.shape
    on = (masks[:, 0] > 127).float()
    mass = on.sum((1, 2)).clamp(min=1.0)
    xs = torch.linspace(-1, 1, w, device=masks.device)
    ys = torch.linspace(-1, 1, h, device=masks.device)
    rows = (on.sum(2) > 0).float()  # (n, H)
    some = rows.sum(1) > 0
    top = torch.where(some, (ys + 4 * (1 - rows)).amin(1), -torch.ones_like(mass))
    bottom = torch.where(some, (ys - 4 * (1 - rows)).amax(1), torch.ones_like(mass))
    return torch.stack([(on.sum(1) * xs).sum(1) / mass, top, bottom], 1)


def stands(photos: PhotoSet) -> Tensor:
    """Whose subject is higher than wide and whole, so that its hip is about half way down: bool (N,), of
    photos with masks."""
    return (slenderness(photos) > HIGHER) & ~ends_below(photos)


def _somewhere_on(axis: Tensor, grid: Tensor, portraits: float, g: torch.Generator) -> Tensor:
    """Where close views look: near the subject's axis at a random height, so that heads and feet are
    seen from near as often as the middle; some look as portraits do, with the top just inside the frame.

    Args:
        axis: (n, 3); grid: (n, H, W, 2), of views about the frame's centre; portraits: their share.

    Returns:
        (n, 2), x and y in [-1, 1].
    """
    x, top, bottom = axis.unbind(1)
    n = len(axis)
    x = x + uniform((n,), -0.15, 0.15, g)
    y = top + (bottom - top) * uniform((n,), 0.0, 1.0, g)
    half = (grid[:, -1, :, 1].mean(1) - grid[:, 0, :, 1].mean(1)).abs() / 2
    portrait = torch.rand(n, generator=g, device=g.device) < portraits
    return torch.stack([x, torch.where(portrait, top + half * uniform((n,), 0.6, 1.0, g), y)], 1)


def how_hard(share: float) -> float:
    """How hard views are at ``share`` of a round, 1 is as hard as they get."""
    return min(1.0, 0.25 + 0.75 * share / EASY_UNTIL)


def view_grids(
    axis: Tensor,
    extent: Tensor,
    source: tuple[int, int],
    size: tuple[int, int],
    mirror: bool,
    share: float,
    g: torch.Generator,
    kinds: Kinds,
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each view looks, (B, H, W, 2), and photo pixels per pixel of the view, (B,).

    Args:
        axis: (B, 3), the subjects' upright axes; extent: (B, 2), rows and columns that the photos fill;
            source: (h, w) of their frames; size: (H, W) of the views; share: of the round that is done.

    Returns:
        these two, and where posed views would look if all of a subject were bent as its trunk is,
            (B, H, W, 2), of others the same as the first.
    """
    grid = axis.new_empty((len(axis), *size, 2))
    step = axis.new_empty(len(axis))
    far_and_near = ((kinds.hard, SHARES, PORTRAITS), (kinds.rehearsed, REHEARSED_SHARES, REHEARSED_PORTRAITS))
    for some, shares, portraits in far_and_near:
        if some.any():
            grid[some], step[some] = _hard_grids(
                axis[some], extent[some], source, size, mirror, share, g, shares, portraits
            )
    nearly = ~torch.stack(kinds).any(0)
    ease = how_hard(share)
    for some, span in ((kinds.posed, eased(POSED, ease)), (nearly, PLAIN), (kinds.still, STILL)):
        if some.any():
            span = _mirrored(span, mirror)
            grid[some], step[some] = random_grid(int(some.sum()), size, span, g, source, extent[some])
    trunk, some = grid.clone(), kinds.posed
    if some.any():
        bent = bend_at_joints(grid[some], axis[some], source, POSED_BENT, ease, g)
        grid[some], trunk[some] = foreshorten(*bent, axis[some], POSED_SHORTENED, ease, g)
    return grid, step, trunk


def turns(n: int, plain: bool, movable: Tensor) -> tuple[Kinds, Tensor]:
    """What kinds the ``n`` views of a step are, and which of them are puppets, bool (n,), on the CPU.

    Args:
        plain: whether the round is plain; movable: bool (n,), whose limbs may be moved, as they are in every
            second view of other rounds and one in eight of plain ones.
    """
    turn = torch.arange(n) % TURN
    near, nearly, posed = (torch.isin(turn, torch.tensor(which)) for which in (FROM_NEAR, NEARLY, PUPPETS))
    none = torch.zeros(n, dtype=torch.bool)
    if not plain:
        return Kinds(~none, none, none, none), (turn % 2 == 0) & movable
    posed = posed & movable.cpu()
    return Kinds(none, posed, near, ~(near | nearly | posed)), posed


def _mirrored(span: WarpRange, mirror: bool) -> WarpRange:
    """``span``, without mirror images unless they share parts."""
    return span if mirror else replace(span, flip=0.0)


def _hard_grids(
    axis: Tensor,
    extent: Tensor,
    source: tuple[int, int],
    size: tuple[int, int],
    mirror: bool,
    share: float,
    g: torch.Generator,
    shares: tuple[float, float, float],
    portraits: float,
) -> tuple[Tensor, Tensor]:
    """Of :func:`view_grids`, the hard or the rehearsed views: of each kind its share, in turns."""
    first = [round(share_of * len(axis)) for share_of in shares]
    ease = how_hard(share)
    grids, steps = [], []
    counts = [*first, len(axis) - sum(first)]
    kinds = zip((CLOSE, NEAR, FAR, TURNED), axis.split(counts), extent.split(counts), strict=True)
    for span, own, filled in kinds:
        if not len(own):
            continue
        grid, step = random_grid(len(own), size, _mirrored(eased(span, ease), mirror), g, source, filled)
        if span is CLOSE:
            grid = grid + _somewhere_on(own, grid, portraits, g).view(-1, 1, 1, 2)
        if span is TURNED:
            grid, _ = bend_at_joints(grid, own, source, BENT, ease, g)
        else:
            grid, _ = foreshorten(grid, grid, own, SHORTENED, ease, g)
        grids.append(grid)
        steps.append(step)
    return torch.cat(grids), torch.cat(steps)
