"""Bends at joints: a photo of somebody upright becomes one of somebody who sits, kneels or leans.

Street photos show people who stand. What a student learns of their parts has to hold for bent bodies too; a
rotation of the whole frame does not teach that, and a free-form warp bends by a few degrees only. Seen from
the side they turn at a joint, seen from the front they are foreshortened.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from partswap.training.views import uniform

HIP = (0.35, 0.6)
KNEE = (0.62, 0.85)
"""At which heights of the subject's box it bends, as shares from the top."""
HIP_DEGREES = 110.0
KNEE_DEGREES = 120.0
SOFTNESS = (0.08, 0.3)
"""Over which length a joint bends, in heights of the box."""
THIGHS = ((0.42, 0.56), (0.64, 0.8))
TRUNK = ((0.12, 0.2), (0.4, 0.54))
"""From and to which heights of the box a body that comes towards the camera is foreshortened."""
SIT = 0.65
"""Of the foreshortened, the share of thighs, as of who sits or squats; the others lean forward."""
SHORTER = (0.1, 0.75)
"""Of the length that is lost."""
NEARER = 0.35
"""How much wider the middle looks, at most: what comes towards the camera is nearer."""


def unbend(points: Tensor, joint: Tensor, angle: Tensor, length: Tensor, upper_end: bool = False) -> Tensor:
    """Where a point of the bent picture was before it was bent.

    The axis through ``joint``, upright before, becomes an arc of ``length`` that turns by ``angle``, with
    straight legs at both ends; distances from the axis and along it are kept (the bend deformer of Barr,
    Global and Local Deformations of Solid Primitives, SIGGRAPH 1984, about the middle of the arc).

    Args:
        points: float32 (B, H, W, 2), x and y in one unit of length; joint: (B, 2), in the same; angle: (B,),
            radians, positive towards +x; length: (B,), above 0; upper_end: all points go with the straight
            leg above the arc, as an arm goes with a trunk, however far down it reaches.

    Returns:
        (B, H, W, 2).
    """
    side = torch.where(angle < 0, -1.0, 1.0).view(-1, 1, 1)
    half = (angle.abs().clamp(min=1e-4) / 2).view(-1, 1, 1)
    radius = length.view(-1, 1, 1) / (2 * half)
    x = (points[..., 0] - joint[:, 0].view(-1, 1, 1)) * side
    y = points[..., 1] - joint[:, 1].view(-1, 1, 1)
    turn = torch.atan2(y, radius - x)
    distance = torch.hypot(radius - x, y)
    on_arc = -half if upper_end else torch.maximum(torch.minimum(turn, half), -half)
    beyond = turn - on_arc
    before_x = radius - distance * beyond.cos()
    before_y = on_arc * radius + distance * beyond.sin()
    return torch.stack(
        [before_x * side + joint[:, 0].view(-1, 1, 1), before_y + joint[:, 1].view(-1, 1, 1)], -1
    )


def bend(points: Tensor, joint: Tensor, angle: Tensor, length: Tensor) -> Tensor:
    """Where a point goes: the inverse of :func:`unbend`; points (B, 2) -> (B, 2)."""
    side = torch.where(angle < 0, -1.0, 1.0)
    half = angle.abs().clamp(min=1e-4) / 2
    radius = length / (2 * half)
    x, y = ((points - joint) * torch.stack([side, torch.ones_like(side)], 1)).unbind(1)
    turn = torch.maximum(torch.minimum(y / radius, half), -half)
    beyond = y - turn * radius
    after_x = radius - (radius - x) * turn.cos() + beyond * turn.sin()
    after_y = (radius - x) * turn.sin() + beyond * turn.cos()
    return torch.stack([after_x * side, after_y], 1) + joint


def bend_at_joints(
    grid: Tensor, axis: Tensor, source: tuple[int, int], share: float, ease: float, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sampling grids that look at the subject bent at the hip and, the other way, at the knee.

    Args:
        grid: (B, H, W, 2), in [-1, 1] of a source of shape ``source``; axis: (B, 3), x, top and bottom of the
            subject in the same; share: of the views that are bent; ease: of the full angles.

    Returns:
        two of (B, H, W, 2): the second looks at all of the subject as the first does at what is above the
        hip, which is where arms hang.
    """
    b = len(grid)
    h, w = source
    scale = torch.tensor([w / h, 1.0], device=grid.device)
    points = grid * scale
    x, top, bottom = axis[:, 0] * w / h, axis[:, 1], axis[:, 2]
    height = (bottom - top).clamp(min=0.1)
    on = (torch.rand(b, generator=g, device=g.device) < share).float() * ease
    first = uniform((b,), -1, 1, g)
    second = -first.sign() * uniform((b,), 0, 1, g)

    trunk = points
    for turn, degrees, (low, high) in ((first, HIP_DEGREES, HIP), (second, KNEE_DEGREES, KNEE)):
        at = torch.stack([x, top + height * uniform((b,), low, high, g)], 1)
        angle, length = turn * on * math.radians(degrees), height * uniform((b,), *SOFTNESS, g)
        # The hip first: what it unbends is a subject whose knee is still bent, on the upright axis.
        points = unbend(points, at, angle, length)
        trunk = unbend(trunk, at, angle, length, upper_end=True)
    return points / scale, trunk / scale


def foreshorten(
    grid: Tensor, trunk: Tensor, axis: Tensor, share: float, ease: float, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sampling grids that look at the subject with its thighs or its trunk towards the camera.

    A band of the body loses a part of its length and looks wider in its middle; what lies above and below it
    closes up.

    Args:
        grid: (B, H, W, 2), in [-1, 1] of a source; trunk: (B, H, W, 2), as of :func:`bend_at_joints`; axis:
            (B, 3), x, top and bottom of the subject in the same; share: of the views that are foreshortened;
            ease: of what they lose at most.

    Returns:
        both (B, H, W, 2); of the second, all goes with what is above the band.
    """
    b = len(grid)
    x, top, bottom = axis.unbind(1)
    height = (bottom - top).clamp(min=0.1)
    sits = torch.rand(b, generator=g, device=g.device) < SIT
    start, end = (
        top + height * torch.where(sits, uniform((b,), *of_thighs, g), uniform((b,), *of_trunk, g))
        for of_thighs, of_trunk in zip(THIGHS, TRUNK, strict=True)
    )
    on = (torch.rand(b, generator=g, device=g.device) < share).float() * ease
    lost = on * uniform((b,), *SHORTER, g)
    start, span, lost, x = (each.view(-1, 1, 1) for each in (start, end - start, lost, x))
    gone = span * lost
    y = grid[..., 1] - gone / 2
    within = ((y - start) / (span - gone)).clamp(0.0, 1.0)
    wider = 1 + NEARER * lost * (math.pi * within).sin()
    above = torch.stack([trunk[..., 0], trunk[..., 1] - gone / 2], -1)
    return torch.stack([x + (grid[..., 0] - x) / wider, y + within * gone], -1), above
