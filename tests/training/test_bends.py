"""Bends at joints: an arc with straight legs, lengths kept; a body towards the camera: a shorter band."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from partswap.training import bends
from partswap.training.bends import bend_at_joints, foreshorten, unbend


def one(x: float, y: float) -> torch.Tensor:
    return torch.tensor([[[[x, y]]]])


def before(x: float, y: float, degrees: float, length: float = 0.5) -> tuple[float, float]:
    """Where (x, y) was, with the joint at the origin."""
    found = unbend(
        one(x, y), torch.zeros(1, 2), torch.tensor([math.radians(degrees)]), torch.tensor([length])
    )
    return float(found[0, 0, 0, 0]), float(found[0, 0, 0, 1])


def bent(along: float, off: float, degrees: float, length: float = 0.5) -> tuple[float, float]:
    """Where the point ``off`` the axis (on the inner side for positive values) and ``along`` it goes: by
    hand, for positive angles."""
    half = math.radians(degrees) / 2
    radius = length / (2 * half)
    turn = max(-half, min(half, along / radius))
    rest = along - turn * radius
    r = radius - off
    return radius - r * math.cos(turn) + rest * math.sin(turn), r * math.sin(turn) + rest * math.cos(turn)


def test_no_angle_moves_nothing() -> None:
    for x, y in ((0.0, 0.0), (0.3, -0.7), (-0.4, 0.9)):
        assert before(x, y, 0.0) == pytest.approx((x, y), abs=1e-3)


def test_a_right_angle_by_hand() -> None:
    # An arc of length pi/2 and 90 degrees has radius 1; its lower end is at 45 degrees below the centre
    # (1, 0), and from there the axis runs on towards +x and down, at 45 degrees.
    length = math.pi / 2
    end = (1 - math.sqrt(0.5), math.sqrt(0.5))
    assert before(*end, 90, length) == pytest.approx((0.0, math.pi / 4), abs=1e-5)
    further = (end[0] + math.sqrt(0.5), end[1] + math.sqrt(0.5))
    assert before(*further, 90, length) == pytest.approx((0.0, math.pi / 4 + 1), abs=1e-5)


@given(
    st.floats(-1, 1), st.floats(-0.2, 0.1), st.floats(2, 110), st.floats(0.2, 0.6), st.booleans()
)  # fmt: skip
def test_unbending_brings_every_point_back(
    along: float, off: float, degrees: float, length: float, mirrored: bool
) -> None:
    """As long as the point lies on this side of the arc's centre, where the bend does not fold."""
    radius = length / math.radians(degrees)
    if off > 0.9 * radius:
        return
    x, y = bent(along, off, degrees, length)
    side = -1 if mirrored else 1
    found = before(side * x, y, side * degrees, length)
    assert found == pytest.approx((side * off, along), abs=2e-3)


def test_only_the_chosen_share_bends() -> None:
    g = torch.Generator().manual_seed(0)
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 17), indexing="ij")
    grid = torch.stack([xs, ys], -1).expand(64, -1, -1, -1)
    axis = torch.tensor([0.1, -0.8, 0.9]).expand(64, 3)
    for same in bend_at_joints(grid, axis, (64, 48), 0.0, 1.0, g):
        torch.testing.assert_close(same, grid, atol=5e-3, rtol=0)
    bent, trunk = bend_at_joints(grid, axis, (64, 48), 0.5, 1.0, g)
    moved = (bent - grid).abs().amax((1, 2, 3))
    assert 20 < int((moved > 0.05).sum()) < 44
    assert torch.isfinite(moved).all()
    assert torch.isfinite(trunk).all()


def test_the_upper_end_is_one_rigid_body_that_joins_the_arc() -> None:
    angle, length = torch.tensor([math.radians(80.0)]), torch.tensor([0.5])
    g = torch.Generator().manual_seed(0)
    points = torch.rand(1, 40, 40, 2, generator=g) * 2 - 1
    all_of_it = unbend(points, torch.zeros(1, 2), angle, length, upper_end=True)
    flat, before_flat = points.view(-1, 2), all_of_it.view(-1, 2)
    torch.testing.assert_close(
        torch.cdist(flat, flat), torch.cdist(before_flat, before_flat), atol=1e-3, rtol=0
    )
    as_bent = unbend(points, torch.zeros(1, 2), angle, length)
    above = (as_bent[..., 1] < -0.25) & (
        as_bent[..., 0] < 0.2
    )  # before the arc begins, on this side of its centre
    assert above.sum() > 100
    torch.testing.assert_close(all_of_it[above], as_bent[above], atol=1e-4, rtol=0)


def lattice(n: int) -> torch.Tensor:
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, 201), torch.linspace(-1, 1, 5), indexing="ij")
    return torch.stack([xs, ys], -1).expand(n, -1, -1, -1)


def test_a_foreshortened_band_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # The body is 2 high; from .5 to .75 of its height (y = 0 to .5), half of the length is lost.
    monkeypatch.setattr(bends, "SIT", 1.0)
    monkeypatch.setattr(bends, "THIGHS", ((0.5, 0.5), (0.75, 0.75)))
    monkeypatch.setattr(bends, "SHORTER", (0.5, 0.5))
    points = torch.tensor([[[[0.4, -0.5], [0.4, 0.125], [0.4, 0.25], [0.4, 0.375], [0.4, 0.8]]]])
    g = torch.Generator().manual_seed(0)
    found, above = foreshorten(points, points, torch.tensor([[0.0, -1.0, 1.0]]), 1.0, 1.0, g)
    # The band shows between .125 and .375, and what is above and below closes up by .125 each.
    assert found[0, 0, :, 1].tolist() == pytest.approx([-0.625, 0.0, 0.25, 0.5, 0.925], abs=1e-5)
    middle = 0.4 / (1 + bends.NEARER * 0.5)
    assert found[0, 0, :, 0].tolist() == pytest.approx([0.4, 0.4, middle, 0.4, 0.4], abs=1e-5)
    torch.testing.assert_close(above, points - torch.tensor([0.0, 0.125]))


def test_who_is_foreshortened_is_shorter_and_nowhere_folded() -> None:
    g = torch.Generator().manual_seed(1)
    axis = torch.tensor([0.1, -0.8, 0.9]).expand(64, 3)
    found, _ = foreshorten(lattice(64), lattice(64), axis, 1.0, 1.0, g)
    steps = found[:, 1:, 0, 1] - found[:, :-1, 0, 1]
    assert (steps > 0).all()
    gone = found[:, -1, 0, 1] - found[:, 0, 0, 1] - 2
    assert (gone > 0).all()
    assert (gone < 1.7 * 0.42 * 0.75).all()
    assert gone.std() > 0.05, "they all lost the same"


def test_only_the_chosen_share_is_foreshortened() -> None:
    g = torch.Generator().manual_seed(2)
    axis = torch.tensor([0.1, -0.8, 0.9]).expand(64, 3)
    for share, ease in ((0.0, 1.0), (1.0, 0.0)):
        for same in foreshorten(lattice(64), lattice(64), axis, share, ease, g):
            torch.testing.assert_close(same, lattice(64))
    moved = (foreshorten(lattice(64), lattice(64), axis, 0.5, 1.0, g)[0] - lattice(64)).abs().amax((1, 2, 3))
    assert 20 < int((moved > 0.01).sum()) < 44
