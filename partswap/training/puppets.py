"""Puppets: a limb is cut out of a photo along its part maps, turned about its joint and bent in the middle.

In street photos arms hang and legs stand, so a student learns arms as what hangs beside a chest: raised
hands look like heads to it, arms that reach down like legs. The same photo with its limbs elsewhere shows
that a sleeve is an arm wherever it is. So that not all that hangs beyond the neck is an arm, heads lean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.training.behind import without_limb
from partswap.training.bends import HIP, bend, unbend
from partswap.training.limbs import Limb
from partswap.training.views import inside, sample, sample_antialiased, uniform

JOINT = 0.1
"""Where a limb is jointed to the body, as a share of its length from its upper end (lower, where it stands);
of one that is raised it is where it meets what it may lie before."""
RAISED = 0.15
"""A limb that reaches so much of its length above what it may lie before is raised."""
MIDDLE = (0.4, 0.6)
"""Where it bends."""
MIDDLE_DEGREES = 130.0
SOFTNESS = (0.1, 0.3)
"""Over which share of its length."""
INWARD = 0.35
"""How far a limb turns across the body, as a share of how far it turns away from it."""
MOVED = 0.8
"""Probability that a limb of a puppet moves; else it is to the body as in the photo."""
IN_FRONT = 0.7
"""Probability that it passes in front of the body, not behind."""
LEAST = 0.01
"""Limbs with less than this share of the foreground are not moved."""
FRINGE = 0.05
"""A limb goes with its soft border, down to so much foreground: left behind, that would be its ghost."""
SMOOTH = 64
"""Limbs are cut smoothly, over an area about this often in a part map's height: neither specks of another
part nor what is left open within a limb stay behind."""


@dataclass(frozen=True)
class Joints:
    """Of one limb on each photo, in [-1, 1] of the photo.

    Attributes:
        cut: (n, 1, h, w), 1 where the limb is, all 0 where a photo lacks it; joint: (n, 2), its x and y;
            middle: (n, 2); length: (n,).
    """

    cut: Tensor
    joint: Tensor
    middle: Tensor
    length: Tensor

    @property
    def down(self) -> Tensor:
        """1.0 where the limb lies below its joint, -1.0 where above, (n,)."""
        return _down(self.joint, self.middle)


def _down(joint: Tensor, middle: Tensor) -> Tensor:
    """Of two points (n, 2), 1.0 where the second is not above the first, else -1.0: (n,)."""
    return torch.where(joint[:, 1] > middle[:, 1], -1.0, 1.0)


def find_limb(limb: Limb, side: float, parts: Tensor, mask: Tensor, axis: Tensor) -> Joints:
    """The limb of one side of upright subjects.

    Args:
        side: -1 left of the axis in the photo, 1 right of it, 0 either; parts: float (n, K, h', w'),
            posterior; mask: float (n, 1, h, w) in [0, 1]; axis: (n, 3), of which x in [-1, 1] is used.
    """
    n, _, h, w = mask.shape
    of_limb = parts[:, [p - 1 for p in limb.parts]].sum(1, keepdim=True)
    of_limb = _smoothed(of_limb, parts.sum(1, keepdim=True))
    of_limb = F.interpolate(of_limb, size=(h, w), mode="bilinear", align_corners=False)
    xs = torch.linspace(-1, 1, w, device=mask.device)
    ys = torch.linspace(-1, 1, h, device=mask.device)
    cut = ((of_limb > 0.5) & (mask > FRINGE)).float()
    if side:
        cut = cut * ((xs.view(1, w) - axis[:, :1]) * side > 0).float().view(n, 1, 1, w)
    there = cut.sum((1, 2, 3)) > LEAST * (mask > 0.5).sum((1, 2, 3)).clamp(min=1)
    cut = cut * there.view(n, 1, 1, 1)
    rows = cut[:, 0].sum(2)  # (n, h)
    # Its ends are where 3 and 97 % of its area lie above: single pixels far off do not move the joint.
    above = rows.cumsum(1) / rows.sum(1, keepdim=True).clamp(min=1.0)
    first = ys[(above < 0.03).sum(1).clamp(max=h - 1)]
    last = ys[(above < 0.97).sum(1).clamp(max=h - 1)]
    length = (last - first).clamp(min=0.05)

    def point(share: Tensor, span: float) -> Tensor:
        y = first + share * length
        near = ((ys.view(1, h) - y.view(n, 1)).abs() < span * length.view(n, 1)).float() * rows.clamp(max=1)
        weight = cut[:, 0] * near.unsqueeze(2)
        x = (weight * xs).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1.0)
        return torch.stack([x, y], 1)

    share = torch.full_like(length, 1 - JOINT if limb.stands else JOINT)
    if limb.before and not limb.stands:
        top, met = _met(parts[:, [p - 1 for p in limb.before]].sum(1, keepdim=True), mask, cut)
        raised = ys[top] - first > RAISED * length
        share = torch.where(raised, ((ys[met] - first) / length).clamp(JOINT, 1 - JOINT), share)
    return Joints(cut, point(share, 0.12), point(torch.full_like(length, 0.5), 0.1), length)


def _met(others: Tensor, mask: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """In which row other parts begin, and in which a limb meets them first, from above: float (n, 1, h', w'),
    their posterior, and (n, 1, h, w), the foreground and the limb -> two of int64 (n,); the first is 0 where
    they never meet, as if the limb hung."""
    reach = max(1, others.shape[-2] // SMOOTH)
    others = (others * F.interpolate(mask, size=others.shape[-2:], mode="area") > 0.5).float()
    nearby = F.max_pool2d(others, 2 * reach + 1, 1, reach)
    others, nearby = (F.interpolate(one, size=cut.shape[-2:], mode="nearest") for one in (others, nearby))
    rows = [one[:, 0].sum(2) for one in (others, nearby * cut)]
    # As of the limb's own ends, single pixels do not count.
    begins, meets = ((row.cumsum(1) < 0.03 * row.sum(1, keepdim=True)).sum(1) for row in rows)
    return begins * (rows[1].sum(1) > 0), meets


def _smoothed(share: Tensor, known: Tensor) -> Tensor:
    """Mean of ``share`` nearby, where something is ``known``; both (n, 1, h, w)."""
    reach = share.shape[-2] // (2 * SMOOTH)
    near = [F.avg_pool2d(F.pad(x, [reach] * 4, mode="replicate"), 2 * reach + 1, 1) for x in (share, known)]
    return near[0] / near[1].clamp(min=1e-3)


def turn_limb(
    grid: Tensor, joints: Joints, angle: Tensor, bend_by: Tensor, where: Tensor, soft: Tensor
) -> Tensor:
    """Where a point of a moved limb was in the photo.

    Args:
        grid: (n, H, W, 2), in [-1, 1] of the photo; angle: (n,), radians by which what lies below its joint
            turns towards +x; bend_by: (n,), radians, of the middle; where: (n,), shift of the middle, and
            soft: (n,), how much of the limb bends, both as shares of its length.

    Returns:
        (n, H, W, 2).
    """
    h, w = joints.cut.shape[-2:]
    scale = torch.tensor([w / h, 1.0], device=grid.device)
    joint = joints.joint * scale
    middle = joints.middle * scale
    middle = torch.stack([middle[:, 0], middle[:, 1] + where * joints.length], 1)
    length = soft * joints.length
    # A bend turns both ends by half of its angle; that with the joint has to stay where it is.
    x, y = (grid * scale - joint.view(-1, 1, 1, 2)).unbind(-1)
    turn = (angle + _down(joint, middle) * bend_by / 2).view(-1, 1, 1)
    cos, sin = turn.cos(), turn.sin()
    offset = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
    bent = offset + bend(joint, middle, bend_by, length).view(-1, 1, 1, 2)
    return unbend(bent, middle, bend_by, length) / scale


def random_turns(
    limb: Limb, side: float, n: int, ease: float, shared: Tensor, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Angle, bend, where and soft of :func:`turn_limb` for one side.

    Args:
        ease: of the full angles; shared: (n,) in [0, 1), the turn of both sides where they move alike.
    """
    nothing = torch.zeros(n, device=g.device)
    if limb.stands:
        return uniform((n,), -1, 1, g) * math.radians(limb.degrees) * ease, nothing, nothing, nothing + 1.0
    alike = torch.rand(n, generator=g, device=g.device) < 0.5
    share = torch.where(alike, shared, uniform((n,), 0.0, 1.0, g))
    outward = share * (1 + INWARD) - INWARD
    angle = outward * side * math.radians(limb.degrees) * ease
    bend_by = uniform((n,), -1, 1, g) * math.radians(MIDDLE_DEGREES) * ease
    return angle, bend_by, uniform((n,), MIDDLE[0] - 0.5, MIDDLE[1] - 0.5, g), uniform((n,), *SOFTNESS, g)


def puppet_views(
    limbs: tuple[Limb, ...],
    both: Tensor,
    parts: Tensor,
    axis: Tensor,
    grid: Tensor,
    trunk: Tensor,
    step: Tensor,
    ease: float,
    g: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Views of photos whose limbs were moved at random, in the order given: the first lie in front.

    Args:
        both: float (n, 4, h, w) in [0, 1], photo and foreground mask; parts: float (n, K, h', w'), posterior
            inside the foreground; axis: (n, 3), the subjects' upright axes; grid, step: where the views look,
            of :func:`partswap.training.views.random_grid`; trunk: (n, H, W, 2), where limbs look that may lie
            before others or are jointed above a hip, as arms are, which do not bend with it; ease: of the
            full angles.

    Returns:
        photo and mask (n, 4, H, W), the photo worth nothing where the mask is 0; parts (n, K, H, W).
    """
    n = len(both)
    moved: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for limb in limbs:
        shared = uniform((n,), 0.0, 1.0, g)
        for side in limb.sides:
            joints = find_limb(limb, side, parts, both[:, 3:], axis)
            on = (torch.rand(n, generator=g, device=g.device) < MOVED).float()
            front = (torch.rand(n, generator=g, device=g.device) < IN_FRONT).float()
            front = torch.maximum(front, 1 - on).view(-1, 1, 1, 1)
            angle, bend_by, *soft = random_turns(limb, side, n, ease, shared, g)
            angle = angle * joints.down * on
            above = joints.joint[:, 1] < axis[:, 1] + HIP[0] * (axis[:, 2] - axis[:, 1])
            looks = torch.where((above | bool(limb.before)).view(-1, 1, 1, 1), trunk, grid)
            there = turn_limb(looks, joints, angle, bend_by * on, *soft)
            of_limb = torch.cat([both[:, :3], both[:, 3:] * joints.cut], 1)
            sprite = sample_antialiased(of_limb, there, step)
            moved.append((sprite[:, :3], sprite[:, 3:] * inside(there), sample(parts, there), front))
            both, parts = without_limb(both, parts, joints.cut)
    seen = sample_antialiased(both, grid, step)
    part_map = sample(parts, grid)
    photo, mask = seen[:, :3], seen[:, 3:] * inside(grid)
    for colours, alpha, told, front in reversed(moved):
        shown = alpha * torch.maximum(front, 1 - mask)
        photo = torch.lerp(photo, colours, shown)
        part_map = torch.lerp(part_map, told, shown)
        mask = (mask + alpha).clamp(max=1.0)  # the two halves of a pixel that was cut make it whole again
    return torch.cat([photo, mask], 1), part_map
