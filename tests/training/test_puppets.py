"""Limbs that are cut out and moved."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from partswap.training import puppets
from partswap.training.bends import bend, unbend
from partswap.training.limbs import Limb
from partswap.training.puppets import Joints, find_limb, puppet_views, turn_limb

ARM = Limb((2,), 180.0)


def figure() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A body (part 1) with an arm (part 2) on either side: photo and mask, parts, axis."""
    body = torch.zeros(1, 1, 64, 64)
    body[..., 16:48, 24:40] = 1
    arm = torch.zeros(1, 1, 64, 64)
    arm[..., 16:40, 16:24] = 1
    arm[..., 16:40, 40:48] = 1
    parts = F.avg_pool2d(torch.cat([body, arm], 1), 4)
    photo = body * 0.25 + arm * 0.75
    return (
        torch.cat([photo.expand(1, 3, 64, 64), body + arm], 1),
        parts / parts.sum(1, keepdim=True).clamp(min=1e-4),
        torch.tensor([[0.0, -0.5, 0.5]]),
    )


def straight() -> torch.Tensor:
    return F.affine_grid(torch.eye(2, 3)[None], [1, 1, 64, 64], align_corners=False)


def looking() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Grids of somebody as in the photo, and their step."""
    return straight(), straight(), torch.ones(1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bending_and_unbending_are_inverse() -> None:
    g = seeded()
    joint, length = torch.zeros(64, 2), torch.rand(64, generator=g) * 0.3 + 0.2
    angle = (torch.rand(64, generator=g) - 0.5) * 3
    points = (torch.rand(64, 2, generator=g) - 0.5) * torch.tensor([0.1, 2.0])
    there = bend(points, joint, angle, length)
    back = unbend(there.view(64, 1, 1, 2), joint, angle, length).view(64, 2)
    torch.testing.assert_close(back, points, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_limb_is_found_on_its_own_side(side: float) -> None:
    both, parts, axis = figure()
    found = find_limb(ARM, side, parts, both[:, 3:], axis)
    assert (found.cut[..., 32:].sum() == 0) == (side < 0)
    assert 150 < found.cut.sum() < 200  # of 192 pixels
    assert float(found.joint[0, 0]) == pytest.approx(side * 0.375, abs=0.05)
    assert -0.5 < float(found.joint[0, 1]) < -0.35
    assert float(found.middle[0, 1]) == pytest.approx(-0.125, abs=0.05)


def raised_figure() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """That of :func:`figure`, its arms up."""
    (both, parts, axis), (body, of_body, _) = figure(), figure()
    both, parts = both.roll(-16, 2), parts.roll(-4, 2)
    both[..., 24:40], parts[..., 6:10] = body[..., 24:40], of_body[..., 6:10]
    return both, parts, axis


BEFORE = Limb((2,), 180.0, before=(1,))


def test_a_raised_limb_is_jointed_where_it_meets_the_body() -> None:
    both, parts, axis = raised_figure()
    raised, hung = (find_limb(one, -1.0, parts, both[:, 3:], axis) for one in (BEFORE, ARM))
    assert float(hung.joint[0, 1]) < -0.85
    assert float(raised.joint[0, 1]) == pytest.approx(-0.5, abs=0.15)
    assert float(raised.joint[0, 0]) == pytest.approx(-0.375, abs=0.05)
    assert (float(hung.down), float(raised.down)) == (1.0, -1.0)
    both, parts, axis = figure()
    hanging = find_limb(BEFORE, -1.0, parts, both[:, 3:], axis)
    assert float(hanging.joint[0, 1]) == pytest.approx(-0.45, abs=0.05)
    parts[:, :, 4:9, 6:7] = 0  # they touch where the hand is only
    assert torch.equal(find_limb(BEFORE, -1.0, parts, both[:, 3:], axis).joint, hanging.joint)
    apart = torch.zeros_like(parts)
    apart[:, 1] = parts[:, 1]
    assert torch.equal(find_limb(BEFORE, -1.0, apart, both[:, 3:], axis).joint, hanging.joint)


@pytest.mark.parametrize("draw", [figure, raised_figure])
def test_limbs_turn_away_from_the_body_more_than_across_it(
    draw: Callable[[], tuple[torch.Tensor, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, parts, axis = draw()
    outward: list[float] = []

    def seen(grid: torch.Tensor, found: Joints, angle: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        # whether what is next to the joint moves away from the middle
        side = found.joint[:, 0].sign()
        outward.append(float((angle * side * found.down).sign()))
        return turn_limb(grid, found, angle, *rest)

    monkeypatch.setattr(puppets, "turn_limb", seen)
    monkeypatch.setattr(puppets, "MOVED", 1.1)
    for seed in range(60):
        puppet_views((BEFORE,), both, parts, axis, *looking(), 1.0, seeded(seed))
    assert 0.3 < sum(outward) / len(outward) < 0.7  # three in four, as INWARD says


def test_a_puppet_that_does_not_move_is_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned and shifted by parts of pixels, where seams would show."""
    body, arm, leg = (torch.zeros(1, 1, 64, 64) for _ in range(3))
    body[..., 8:40, 20:44] = 1
    leg[..., 40:62, 20:44] = 1
    arm[..., 16:48, 34:38] = 1  # before both
    told = torch.cat([body, arm, leg], 1)
    told[:, ::2] *= 1 - arm
    photo = (told * torch.tensor([0.2, 0.9, 0.5]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    both = torch.cat([photo.expand(1, 3, 64, 64), told.sum(1, keepdim=True)], 1)
    parts = F.avg_pool2d(told, 2)
    axis = torch.tensor([[0.0, -0.75, 0.95]])
    cos, sin = math.cos(0.1), math.sin(0.1)
    turned = F.affine_grid(
        torch.tensor([[[cos, -sin, 0.013], [sin, cos, 0.007]]]), [1, 1, 64, 64], align_corners=False
    )
    views = (turned, turned, torch.ones(1))
    plain = puppet_views((), both, parts, axis, *views, 1.0, seeded())
    monkeypatch.setattr(puppets, "MOVED", 0.0)
    limbs = (Limb((2,), 180.0, before=(1,)), Limb((3,), 100.0, dressed=True))
    for seed in range(6):
        seen, moved = puppet_views(limbs, both, parts, axis, *views, 1.0, seeded(seed))
        assert float((plain[0][:, 3] - seen[:, 3]).max()) < 0.1, "no seams"
        sure = plain[1].amax(1) * (plain[0][:, 3] > 0.9) > 0.9
        assert sure.sum() > 800
        assert (moved.argmax(1) == plain[1].argmax(1))[sure].float().mean() > 0.99


def test_no_hole_is_left_where_an_arm_lay_before_the_body() -> None:
    body, arm = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    body[..., 8:60, 20:44] = 1
    arm[..., 20:40, 34:38] = 1
    parts = F.avg_pool2d(torch.cat([body - arm, arm], 1), 2)
    both = torch.cat([(0.25 * body + 0.5 * arm).expand(1, 3, 64, 64), body], 1)
    axis = torch.tensor([[0.0, -0.75, 0.9]])
    for seed in range(8):
        seen, moved = puppet_views((ARM,), both, parts, axis, *looking(), 1.0, seeded(seed))
        assert seen[0, 3, 10:58, 22:42].min() > 0.99
        still_arm = moved[0, 1, 10:58, 22:42] > 0.5
        assert ((seen[0, 0, 10:58, 22:42] > 0.5) == still_arm).float().mean() > 0.95


def test_limbs_jointed_above_the_hip_look_where_the_trunk_does() -> None:
    both, parts, _ = figure()
    aside = straight() + torch.tensor([0.5, 0.0])
    for moved_ones, top in ((1.0, -0.5), (0.0, -0.5), (1.0, -1.5)):
        high = torch.tensor([[0.0, top, 0.5]])  # a body that begins higher has its hip there
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(puppets, "MOVED", moved_ones)
            seen, moved = puppet_views(
                (ARM,), both, parts, high, straight(), aside, torch.ones(1), 0.0, seeded()
            )
        arms = (moved[0].argmax(0) == 1) & (seen[0, 3] > 0.5)
        assert (arms[:, :16].sum() > 50) == (top > -1), "moved or not"


def test_a_missing_limb_is_not_cut() -> None:
    both, parts, axis = figure()
    parts = torch.cat([parts.sum(1, keepdim=True), torch.zeros_like(parts[:, :1])], 1)
    assert find_limb(ARM, 1.0, parts, both[:, 3:], axis).cut.sum() == 0
    seen, moved = puppet_views((ARM,), both, parts, axis, *looking(), 1.0, seeded())
    torch.testing.assert_close(seen[:, 3:], both[:, 3:])
    assert moved[:, 1].sum() == 0


def test_what_a_part_map_leaves_open_within_a_limb_goes_with_it() -> None:
    both, parts, axis = figure()
    large = F.interpolate(both, scale_factor=8.0), F.interpolate(parts, scale_factor=16.0)
    open_ones = large[1].clone()
    open_ones[..., 96:104, 80:86] = 0  # within the arm on the left
    assert (large[1][..., 96:104, 80:86].argmax(1) == 1).all()
    whole, holed = (find_limb(ARM, -1.0, p, large[0][:, 3:], axis).cut for p in (large[1], open_ones))
    assert float((whole - holed).abs().sum() / whole.sum()) < 0.01


def test_a_moved_limb_takes_its_soft_border_along() -> None:
    both, _, axis = figure()
    both[:, 3:] = F.avg_pool2d(both[:, 3:], 7, 1, 3)
    parts = torch.zeros(1, 2, 16, 16)
    parts[:, 0, :, 6:10] = 1
    parts[:, 1] = 1 - parts[:, 0]  # a net says of everything what part it were
    border = (both[0, 3, :, :20] > 0.1) & (both[0, 3, :, :20] < 0.5)
    assert border.sum() > 20
    assert find_limb(ARM, -1.0, parts, both[:, 3:], axis).cut[0, 0, :, :20][border].all()


def joints(middle: float) -> Joints:
    return Joints(
        torch.ones(1, 1, 64, 64),
        torch.tensor([[0.2, -0.4]]),
        torch.tensor([[0.2, middle]]),
        torch.ones(1) * 0.8,
    )


def looked_up(x: float, y: float, degrees: float, bend_by: float, middle: float = 0.0) -> tuple[float, float]:
    turn, by = torch.tensor([math.radians(degrees)]), torch.tensor([math.radians(bend_by)])
    grid = torch.tensor([[[[x, y]]]])
    found = turn_limb(grid, joints(middle), turn, by, torch.zeros(1), torch.full((1,), 0.1))
    return float(found[0, 0, 0, 0]), float(found[0, 0, 0, 1])


@pytest.mark.parametrize("bend_by", [-90.0, 0.0, 120.0])
@pytest.mark.parametrize("degrees", [-120.0, 0.0, 90.0, 180.0])
@pytest.mark.parametrize("down", [1.0, -1.0])
def test_the_joint_stays_and_the_half_next_to_it_turns_about_it(
    down: float, degrees: float, bend_by: float
) -> None:
    middle = -0.4 + 0.4 * down
    assert looked_up(0.2, -0.4, degrees, bend_by, middle) == pytest.approx((0.2, -0.4), abs=1e-4)
    angle = math.radians(degrees)
    # 0.3 below the joint in the photo, or above it
    there = (0.2 + 0.3 * down * math.sin(angle), -0.4 + 0.3 * down * math.cos(angle))
    found = looked_up(*there, degrees, bend_by, middle)
    assert found == pytest.approx((0.2, -0.4 + 0.3 * down), abs=1e-4)


def test_the_lower_half_follows_its_bend() -> None:
    # Upright to the middle, then by a right angle to the right: what is 0.3 beyond the middle lies beside it.
    x, y = looked_up(0.2 + 0.3, 0.0, 0.0, 90.0)
    assert x == pytest.approx(0.2, abs=0.05)
    assert y == pytest.approx(0.3, abs=0.05)


def test_puppets_move_their_arms_and_nothing_else() -> None:
    both, parts, axis = figure()
    still, _ = puppet_views((ARM,), both, parts, axis, *looking(), 0.0, seeded())
    torch.testing.assert_close(still[:, 3:], both[:, 3:], atol=5e-3, rtol=0)
    elsewhere = []
    for seed in range(12):
        seen, moved = puppet_views((ARM,), both, parts, axis, *looking(), 1.0, seeded(seed))
        mask = seen[0, 3]
        assert mask[20:44, 26:38].min() > 0.99
        assert 0.7 < float(mask.sum() / both[0, 3].sum()) < 1.1
        arm = (moved[0].argmax(0) == 1) & (mask > 0.5)
        body = (moved[0].argmax(0) == 0) & (mask > 0.5)
        assert (seen[0, 0][arm] > 0.5).float().mean() > 0.9  # the colour goes where the part goes
        assert (seen[0, 0][body] < 0.5).float().mean() > 0.9
        elsewhere.append(float((arm & (both[0, 3] < 0.5)).sum()))
    assert max(elsewhere) > 100


def test_a_head_leans_about_its_lower_end_and_keeps_its_shape() -> None:
    head = torch.zeros(1, 1, 64, 64)
    head[..., 8:24, 28:36] = 1
    body = torch.zeros(1, 1, 64, 64)
    body[..., 24:56, 20:44] = 1
    parts = F.avg_pool2d(torch.cat([body, head], 1), 4)
    photo = body * 0.25 + head * 0.75
    both, axis = torch.cat([photo.expand(1, 3, 64, 64), body + head], 1), torch.tensor([[0.0, -0.5, 0.5]])
    leaning = Limb((2,), 60.0, stands=True)
    found = find_limb(leaning, 0.0, parts, both[:, 3:], axis)
    assert 120 <= found.cut.sum() <= 128
    assert (found.cut <= head).all()
    assert found.joint[0].tolist() == pytest.approx([0.0, -0.3], abs=0.05)
    leans = []
    for seed in range(12):
        seen, moved = puppet_views((leaning,), both, parts, axis, *looking(), 1.0, seeded(seed))
        on = (moved[0].argmax(0) == 1) & (seen[0, 3] > 0.5)
        assert seen[0, 3, 28:54, 22:42].min() > 0.99
        assert 70 < on.sum() <= 135  # of 128 pixels, some of them behind the body
        y, x = on.nonzero().float().mean(0)
        leans.append(math.degrees(math.atan2(float(x) - 31.5, 22 - float(y))))
    assert min(leans) < -25
    assert max(leans) > 25
    assert all(abs(lean) < 75 for lean in leans)
