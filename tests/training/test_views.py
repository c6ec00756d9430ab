"""Views: warps that keep what they promise, colour that stays a colour, randomness that belongs to its
step."""

from __future__ import annotations

import math

import pytest
import torch

from partswap.training.views import (
    WarpRange,
    blur_some,
    inside,
    jitter_colour,
    random_grid,
    resize_grid,
    sample,
    sample_antialiased,
    step_generator,
    uniform,
)

CPU = torch.device("cpu")
FULL = WarpRange((0.5, 2.0), 90.0, 0.3, 0.1, 0.3, 0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(h: int = 12, w: int = 20) -> torch.Tensor:
    return torch.rand(2, 3, h, w, generator=seeded(9))


def test_no_warp_is_the_identity() -> None:
    x = picture()
    grid, step = random_grid(2, (12, 20), WarpRange(), seeded())
    torch.testing.assert_close(sample(x, grid), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(step, torch.ones(2))
    assert (inside(grid) == 1).all()


def test_a_view_of_another_shape_holds_all_of_the_source_undistorted() -> None:
    grid, step = random_grid(1, (64, 64), WarpRange(), seeded(), source=(128, 32))
    torch.testing.assert_close(step, torch.tensor([2.0]))
    y, x = grid[0, :, 0, 1], grid[0, 0, :, 0]
    torch.testing.assert_close(y[[0, -1]], torch.tensor([-1 + 1 / 64, 1 - 1 / 64]))
    torch.testing.assert_close(x.max().item(), 4.0 * (1 - 1 / 64))  # four times as wide as the source
    assert inside(grid).mean().item() == pytest.approx(0.25)


def test_zoom_magnifies_about_the_centre() -> None:
    grid, step = random_grid(1, (16, 16), WarpRange(zoom=(2.0, 2.0)), seeded())
    plain, _ = random_grid(1, (16, 16), WarpRange(), seeded())
    torch.testing.assert_close(grid, plain / 2)
    assert step.item() == pytest.approx(0.5)


def test_flip_mirrors_left_and_right() -> None:
    x = picture()
    grid, _ = random_grid(2, (12, 20), WarpRange(flip=1.0), seeded())
    torch.testing.assert_close(sample(x, grid), x.flip(-1), atol=1e-5, rtol=0)


def test_rotations_fill_their_range() -> None:
    grid, _ = random_grid(500, (8, 8), WarpRange(rotate=90.0), seeded())
    d = grid[:, 0, -1] - grid[:, 0, 0]
    angles = torch.atan2(d[:, 1], d[:, 0]) * 180 / math.pi
    assert -90.01 < angles.min() < -80
    assert 80 < angles.max() < 90.01


@pytest.mark.parametrize(
    ("size", "source"), [((64, 128), None), ((96, 64), (50, 200)), ((64, 64), (128, 32))]
)
def test_rotation_keeps_angles_and_lengths_in_frames_that_are_not_square(
    size: tuple[int, int], source: tuple[int, int] | None
) -> None:
    h, w = source or size
    grid, step = random_grid(
        6, size, WarpRange(zoom=(0.5, 2.0), rotate=60.0, shift=0.2, flip=0.5), seeded(2), source
    )
    pixels = grid * torch.tensor([w / 2, h / 2])  # in source pixels
    right = pixels[:, 0, 1] - pixels[:, 0, 0]
    down = pixels[:, 1, 0] - pixels[:, 0, 0]
    torch.testing.assert_close((right * down).sum(1), torch.zeros(6), atol=1e-2, rtol=0)
    torch.testing.assert_close(right.norm(dim=1), step, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(down.norm(dim=1), step, atol=2e-3, rtol=1e-3)


def test_bending_is_smooth_and_bounded() -> None:
    plain, _ = random_grid(3, (32, 32), WarpRange(), seeded())
    bent, _ = random_grid(3, (32, 32), WarpRange(bend=0.1), seeded())
    moved = bent - plain
    assert 0.02 < moved.abs().max() < 0.15
    assert (moved[:, :, 1:] - moved[:, :, :-1]).abs().max() < 0.05


def test_the_same_generator_draws_the_same_views() -> None:
    first, second, other = (random_grid(3, (16, 24), FULL, seeded(s))[0] for s in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    x = torch.rand(3, 3, 16, 24, generator=seeded())
    torch.manual_seed(1)
    one = blur_some(jitter_colour(x, seeded(7)), seeded(8))
    torch.manual_seed(2)
    assert torch.equal(one, blur_some(jitter_colour(x, seeded(7)), seeded(8)))


def test_every_step_stage_and_seed_has_its_own_generator() -> None:
    places = [(seed, stage, step) for seed in range(3) for stage in (0, 1, 2, 900) for step in range(5)]
    drawn = {tuple(torch.rand(2, generator=step_generator(*p, CPU)).tolist()) for p in places}
    assert len(drawn) == len(places)
    a, b = (torch.rand(5, generator=step_generator(3, 1, 4, CPU)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_jitter_stays_a_picture_and_changes_it(strength: float) -> None:
    x = torch.rand(16, 3, 8, 8, generator=seeded())
    y = jitter_colour(x, seeded(1), strength)
    assert y.min() >= 0
    assert y.max() <= 1
    assert ((x - y).abs().mean((1, 2, 3)) > 0.01).float().mean() > 0.8


def test_jitter_of_strength_zero_leaves_a_photo_alone() -> None:
    x = torch.rand(4, 3, 8, 8, generator=seeded()) * 0.9 + 0.05
    torch.testing.assert_close(jitter_colour(x, seeded(), 0.0), x, atol=2e-3, rtol=0)


def test_blur_keeps_flat_pictures_and_softens_others() -> None:
    flat = torch.full((4, 3, 8, 8), 0.3)
    torch.testing.assert_close(blur_some(flat, seeded(), 1.0), flat)
    x = torch.rand(8, 3, 16, 16, generator=seeded())
    assert (blur_some(x, seeded(), 1.0).var((1, 2, 3)) < x.var((1, 2, 3))).all()
    assert torch.equal(blur_some(x, seeded(), 0.0), x)


def test_inside_says_where_a_grid_leaves_the_frame() -> None:
    grid = torch.tensor([[[0.0, 0.0], [1.2, 0.0]], [[0.0, -1.01], [1.0, 1.0]]]).unsqueeze(0)
    assert inside(grid).tolist() == [[[[1.0, 0.0], [0.0, 1.0]]]]


def test_a_resized_grid_is_the_same_warp() -> None:
    big, _ = random_grid(2, (32, 48), WarpRange((0.8, 1.2), 20.0, 0.1, 0.0, 0.1, 0.5), seeded(3))
    small, _ = random_grid(2, (8, 12), WarpRange((0.8, 1.2), 20.0, 0.1, 0.0, 0.1, 0.5), seeded(3), (32, 48))
    torch.testing.assert_close(resize_grid(big, (8, 12)), small, atol=2e-5, rtol=0)


def test_shrinking_is_antialiased() -> None:
    stripes = (torch.arange(64) % 2).float().view(1, 1, 1, 64).expand(1, 1, 64, 64)
    grid, step = random_grid(1, (64, 64), WarpRange(zoom=(0.25, 0.25)), seeded())
    seen = sample_antialiased(stripes, grid, step)
    within = inside(grid) > 0
    torch.testing.assert_close(seen[within], torch.full_like(seen[within], 0.5), atol=0.02, rtol=0)
    same, one = random_grid(1, (64, 64), WarpRange(), seeded())
    torch.testing.assert_close(
        sample_antialiased(stripes, same, one), stripes.contiguous(), atol=1e-4, rtol=0
    )


def test_uniform_stays_in_its_range() -> None:
    x = uniform((1000,), -2.0, 3.0, seeded())
    assert -2 <= x.min() < -1.9
    assert 2.9 < x.max() <= 3
