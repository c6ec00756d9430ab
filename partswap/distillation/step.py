"""One step of stage 2: a random view of photos and of their part maps, and how far the student is from
them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.discovery.step import normalise
from partswap.distillation.laid import laid_over
from partswap.distillation.looks import how_hard, stands, turns, upright_axis, view_grids
from partswap.distillation.sleeves import with_sleeves
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.puppets import puppet_views
from partswap.training.views import (
    WarpRange,
    blur_some,
    in_full_precision,
    inside,
    jitter_colour,
    random_grid,
    sample,
    sample_antialiased,
    uniform,
)

OVERLAP = 0.5
OVERLAP_UNTIL = 0.5
"""The overlap loss starts at this weight and is gone at this share of a round. It wakes small parts early;
later the cross-entropy alone decides, whose minimum are the maps' own shares."""

NATURAL = 0.4
PLAIN_NATURAL = 0.9
"""Share of views whose colours change only a little, and that of plain ones."""


def add_detail(photo: Tensor, photos: PhotoSet, step: Tensor, g: torch.Generator) -> Tensor:
    """Give enlarged views the crispness that they lack: training photos seen from near are soft, a portrait
    is not.

    An unsharp mask brings back edges; the fine structure of other photos, laid over at their own pixels'
    scale, stands for the folds, prints and badges that only a real close view shows.

    Args:
        photo: float (B, 3, H, W) in [0, 1]; step: (B,), photo pixels per pixel of the view.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    b = len(photo)
    enlarged = (step < 0.8).float().view(-1, 1, 1, 1)
    on = enlarged * (torch.rand(b, 1, 1, 1, generator=g, device=g.device) < 0.7).float()
    soft = F.avg_pool2d(F.pad(photo, (2, 2, 2, 2), mode="replicate"), 5, 1)
    photo = photo + on * uniform((b, 1, 1, 1), 0.0, 2.0, g) * (photo - soft)
    which = torch.randint(len(photos), (b,), generator=g, device=g.device)
    other = photos.images[which].float() / 255
    span = WarpRange(zoom=(0.8, 2.0), rotate=180.0, shift=0.5, flip=0.5)
    grid, _ = random_grid(b, (photo.shape[-2], photo.shape[-1]), span, g, (other.shape[-2], other.shape[-1]))
    other = sample(other, grid).mean(1, keepdim=True)
    fine = other - F.avg_pool2d(F.pad(other, (4, 4, 4, 4), mode="replicate"), 9, 1)
    on = enlarged * (torch.rand(b, 1, 1, 1, generator=g, device=g.device) < 0.5).float()
    return (photo + on * uniform((b, 1, 1, 1), 0.0, 0.8, g) * fine).clamp(0.0, 1.0)


def _surroundings(photos: PhotoSet, n: int, size: tuple[int, int], g: torch.Generator) -> Tensor:
    """Backgrounds to put people in front of: the side strips of other photos, drawn large; (n, 3, H, W) in
    [0, 1]."""
    which = torch.randint(len(photos), (n,), generator=g, device=g.device)
    source = photos.images[which].float() / 255
    span = WarpRange(zoom=(3.0, 5.0), rotate=20.0, flip=0.5)
    grid, _ = random_grid(n, size, span, g, (source.shape[-2], source.shape[-1]))
    side = 1.0 - 2.0 * (torch.rand(n, 1, 1, generator=g, device=g.device) < 0.5).float()
    x = grid[..., 0] + side * 0.85
    y = grid[..., 1] + uniform((n, 1, 1), -0.7, 0.7, g)
    return sample(source, torch.stack([x, y], -1))


@in_full_precision
def distillation_views(
    photos: PhotoSet,
    targets: Tensor,
    index: Tensor,
    size: tuple[int, int],
    mirror: bool,
    share: float,
    g: torch.Generator,
    limbs: tuple[Limb, ...] = (),
    plain: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw views of the photos ``index`` with their part maps.

    Args:
        targets: uint8 (N, K, h/4, w/4), posterior inside the foreground; size: (H, W) of the views; share: of
            the round that is done; limbs: what wears painted sleeves in some views unless it is dressed, is
            laid over other parts in some, and, if it turns, is moved in every second one (of a plain round in
            every eighth, if somebody stands there whole), a puppet, on which nothing is laid; plain: photos
            as they come or nearly so, but for puppets and one in four from near.

    Returns:
        photo: normalised (B, 3, H, W); part_map: (B, K + 1, H, W), summing to one, or to less where something
            is foreground but its part unknown.
    """
    assert photos.masks is not None
    b = len(index)
    axis = upright_axis(photos.masks[index])
    source = (photos.images.shape[-2], photos.images.shape[-1])
    moved = tuple(limb for limb in limbs if limb.degrees)
    movable = stands(photos.rows(index)) if plain and moved else torch.full((b,), bool(moved))
    kinds, puppets = turns(b, plain, movable)
    grid, step, trunk = view_grids(axis, photos.extent(index), source, size, mirror, share, g, kinds)
    as_it_comes = kinds.still.to(g.device).view(-1, 1, 1, 1)
    both = torch.cat([photos.images[index].float() / 255, photos.masks[index].float() / 255], 1)
    own = targets[index].float() / 255
    dressed = with_sleeves(both[:, :3], both[:, 3:], own, [limb for limb in limbs if not limb.dressed], g)
    both[:, :3] = torch.where(as_it_comes, both[:, :3], dressed)
    over = [limb for limb in limbs if limb.over]
    if over:
        *laid, told = laid_over(both[:, :3], both[:, 3:], own, over, mirror, g)
        shown = torch.cat(laid, 1)
        shown[puppets], told[puppets] = both[puppets], own[puppets]  # which look for their limbs' joints
        both, own = shown, told
    seen = sample_antialiased(both, grid, step)
    parts = sample(own, grid)
    within = inside(grid)
    seen[:, 3:] *= within
    if puppets.any():
        seen[puppets], parts[puppets] = puppet_views(
            moved,
            both[puppets],
            own[puppets],
            axis[puppets],
            grid[puppets],
            trunk[puppets],
            step[puppets],
            how_hard(share),
            g,
        )
    photo, mask = seen[:, :3], seen[:, 3:]
    # Beyond the frame there is no photo; there, and at times everywhere around the subject, another photo's
    # surroundings appear.
    around = _surroundings(photos, b, size, g)
    elsewhere = (torch.rand(b, 1, 1, 1, generator=g, device=g.device) < 0.25).float()
    elsewhere[puppets] = 1.0
    elsewhere *= ~as_it_comes
    keep = torch.maximum(mask, within * (1 - elsewhere))
    photo = photo * keep + around * (1 - keep)
    unchanged = photo
    photo = add_detail(photo, photos, step, g)
    # Purple people teach that colour is no part; people in their own colours teach what skin looks like.
    often = torch.where(kinds.hard | kinds.rehearsed, NATURAL, PLAIN_NATURAL).view(-1, 1, 1, 1).to(g.device)
    natural = (torch.rand(b, 1, 1, 1, generator=g, device=g.device) < often).float()
    photo = torch.lerp(photo, jitter_colour(photo, g, 0.8), 1.0 - 0.65 * natural)
    photo = torch.where(as_it_comes, unchanged, blur_some(photo, g))
    parts = parts / (parts.sum(1, keepdim=True) + 1e-4)  # all zero stays zero: unknown
    return normalise(photo), torch.cat([1 - mask, parts * mask], 1)


def soft_dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice overlap, averaged over the channels that the batch shows (Milletari et al., 3DV 2016);
    both (B, C, H, W)."""
    both = (probabilities * target).sum((0, 2, 3))
    total = (probabilities.square() + target.square()).sum((0, 2, 3))
    return (1 - 2 * both / (total + 1e-3)).mean()


def distillation_losses(
    student: nn.Module,
    photo: Tensor,
    part_map: Tensor,
    share: float = 0.0,
    at: tuple[int, int] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Cross-entropy and overlap with soft part maps.

    What a part map leaves open (it sums to less than one there) may be any part: the student answers for its
    being foreground only.

    Args:
        part_map: of :func:`distillation_views`; share: of the round that is done; at: from which row and
            column on every second one is looked at, instead of all: neighbours say nearly the same, and the
            losses of all are a quarter of a step on a CPU.

    Returns:
        losses by name (their sum is minimised), and the student's logits (B, K + 1, H, W), those looked at.
    """
    logits = student(photo).float()
    if at is not None:
        logits, part_map = (each[..., at[0] :: 2, at[1] :: 2] for each in (logits, part_map))
    known = part_map.sum(1)
    any_part = logits[:, 1:].logsumexp(1)
    anything = torch.logaddexp(logits[:, 0], any_part)
    of_open = (1 - known).clamp(min=0.0) * any_part
    cross_entropy = (anything - (part_map * logits).sum(1) - of_open).mean()
    weight = OVERLAP * max(0.0, 1.0 - share / OVERLAP_UNTIL)
    overlap = logits.new_zeros(())
    if weight > 0:  # an eighth of a step on a CPU
        overlap = weight * soft_dice(logits.softmax(1) * known.unsqueeze(1), part_map)
    return {"cross_entropy": cross_entropy, "overlap": overlap}, logits


def posterior_inside(student: nn.Module, multiple: int = 1) -> Callable[[Tensor], Tensor]:
    """A ``predict`` for :func:`partswap.distillation.targets.part_targets` from a student: its parts,
    renormalised without background."""

    def predict(x: Tensor) -> Tensor:
        logits = student(x).float()[:, 1:]
        return F.avg_pool2d(logits, multiple).softmax(1) if multiple > 1 else logits.softmax(1)

    return predict
