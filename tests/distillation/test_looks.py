"""Where the views of distillation look."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from partswap.distillation.looks import (
    CLOSE,
    FAR,
    NEAR,
    PORTRAITS,
    POSED,
    REHEARSED_SHARES,
    TURNED,
    Kinds,
    _somewhere_on,
    eased,
    stands,
    turns,
    view_grids,
    view_sizes,
)
from partswap.training.data import PhotoSet
from partswap.training.views import WarpRange, random_grid


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("span", [CLOSE, NEAR, FAR, TURNED, POSED])
def test_views_grow_away_from_the_plain_photo(span: WarpRange) -> None:
    none = eased(span, 0.0)
    assert none == WarpRange(flip=span.flip)
    whole = eased(span, 1.0)
    assert whole.zoom == pytest.approx(span.zoom)
    assert whole.rotate == span.rotate
    half = eased(span, 0.5)
    assert half.zoom[1] == pytest.approx(math.sqrt(span.zoom[1]))
    assert half.shift == pytest.approx(span.shift / 2)


@pytest.mark.parametrize("frame", [(64, 64), (256, 192), (128, 512)])
def test_shapes_of_view_are_multiples_of_32_of_about_the_same_area(frame: tuple[int, int]) -> None:
    for h, w in view_sizes(frame):
        assert h % 32 == w % 32 == 0
        assert min(h, w) >= 64
        assert 0.6 < h * w / (frame[0] * frame[1]) < 1.7


def test_a_third_of_the_close_views_looks_like_portraits() -> None:
    axis = torch.tensor([[0.0, -0.8, 0.9]]).repeat(600, 1)
    grid, _ = random_grid(600, (32, 32), WarpRange(zoom=(4.0, 4.0)), seeded(), (32, 32))
    y = _somewhere_on(axis, grid, PORTRAITS, seeded(1))[:, 1]
    above = -0.8 - (y - 0.25)  # the view reaches a quarter up from its middle: how far beyond the top
    portraits = ((above >= 0) & (above <= 0.11)).float().mean()
    assert 0.35 < float(portraits) < 0.46  # a third, and those of any height that look there by chance


def seen_from(
    kind: str,
    which: torch.Tensor,
    size: tuple[int, int] = (96, 64),
    extent: tuple[int, int] = (96, 64),
    share: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of :func:`view_grids`, somebody upright in frames of 96x64; ``which`` views are of a kind, the others
    nearly plain."""
    axis = torch.tensor([[0.0, -0.8, 0.9]]).repeat(len(which), 1)
    none = torch.zeros(len(which), dtype=torch.bool)
    kinds = Kinds(none, none, none, none)._replace(**{kind: which})
    extents = torch.tensor([extent]).repeat(len(which), 1)
    return view_grids(axis, extents, (96, 64), size, True, share, seeded(), kinds)


def mean_step(extent: tuple[int, int], size: tuple[int, int], hard_ones: bool = False) -> float:
    """Pixels of photos in a frame of 96x64 per pixel of plain or hard views, on (geometric) average."""
    _, step, _ = seen_from("hard", torch.full((40,), hard_ones), size, extent)
    return float(step.log().mean().exp())


def test_rehearsed_views_are_from_near() -> None:
    rehearsed = torch.arange(64) % 2 == 0
    grid, step, _ = seen_from("rehearsed", rehearsed)
    near, plain = step[rehearsed], step[~rehearsed]
    assert plain.min() > 0.75
    assert near.median() < 0.5
    heights = grid[rehearsed][:, 48, 32, 1]  # the head is looked at most
    assert (heights < -0.3).float().mean() > 0.5


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_any_number_of_views_is_rehearsed(n: int) -> None:
    grid, step, _ = seen_from("rehearsed", torch.ones(n, dtype=torch.bool), (64, 64), share=0.5)
    assert grid.shape == (n, 64, 64, 2)
    assert sum(round(share * n) for share in REHEARSED_SHARES) == n, "none is turned"
    assert torch.isfinite(step).all()


def straight_lines(grid: torch.Tensor) -> torch.Tensor:
    """How far each grid is from an affine one, (B,): what its cells' differences differ by, at most."""
    pixels = grid * torch.tensor([64.0, 96.0]) / 2
    along, down = pixels.diff(dim=2), pixels.diff(dim=1)
    return torch.stack(
        [(one - one.mean((1, 2), keepdim=True)).abs().amax((1, 2, 3)) for one in (along, down)]
    ).amax(0)


def test_posed_views_are_bent_or_shortened_and_about_as_far_away_as_photos() -> None:
    posed = torch.arange(400) % 2 == 0
    grid, step, trunk = seen_from("posed", posed)
    warp = straight_lines(grid)
    assert warp[~posed].max() < 0.2
    assert 0.6 < float((warp[posed] > 0.3).float().mean()) < 0.9, "in some only limbs move"
    assert step.min() > 0.6
    assert step.max() < 1.7
    assert straight_lines(trunk)[posed].max() < 0.3, "trunks stay straight"
    torch.testing.assert_close(trunk[~posed], grid[~posed])


def test_arms_go_with_the_trunk_where_a_body_is_bent() -> None:
    grid, _, trunk = seen_from("posed", torch.ones(200, dtype=torch.bool))
    shoulders = (grid[..., 1] < -0.62) & (grid[..., 1] > -0.8) & (grid[..., 0].abs() < 0.3)
    assert shoulders.sum() > 1000
    apart = (grid - trunk).norm(dim=-1)
    assert float((apart[shoulders] < 0.08).float().mean()) > 0.95  # the others lie beyond a fold
    feet = (grid[..., 1] > 0.7) & (grid[..., 1] < 0.9) & (grid[..., 0].abs() < 0.3)
    assert float(apart[feet].median()) > 0.3, "and legs do not"


def test_who_stands_is_higher_than_wide_and_whole() -> None:
    masks = torch.zeros(4, 1, 64, 64, dtype=torch.uint8)
    masks[0, :, 4:60, 20:40] = 255
    masks[1, :, 20:40, 4:60] = 255
    masks[2, :, 4:60, 4:60] = 255
    masks[3, :, 4:, 20:40] = 255
    names = [str(i) for i in range(4)]
    photos = PhotoSet(masks.repeat(1, 3, 1, 1), masks, torch.ones_like(masks), torch.arange(4), names, [])
    assert stands(photos).tolist() == [True, False, False, False]


@pytest.mark.parametrize("n", [1, 7, 8, 20])
def test_each_view_of_a_round_is_of_one_kind(n: int) -> None:
    for plain, moving in itertools.product((False, True), repeat=2):
        kinds, puppets = turns(n, plain, torch.full((n,), moving))
        assert torch.stack(kinds).sum(0).max() == 1
        assert puppets.any() == moving
        assert kinds.hard.all() != plain
        assert puppets[:: 8 if plain else 2].all() == moving
        assert int(puppets.sum()) == moving * -(-n // (8 if plain else 2))
        assert torch.equal(kinds.posed, puppets & plain)
    nobody, somebody = torch.zeros(24, dtype=torch.bool), torch.arange(24) < 8
    kinds, _ = turns(24, True, nobody)
    assert [int(kind.sum()) for kind in kinds] == [0, 0, 6, 15]
    assert int(turns(4, True, nobody[:4])[0].rehearsed.sum()) == 1, "small batches too"
    kinds, _ = turns(24, True, somebody)
    assert [int(kind.sum()) for kind in kinds] == [0, 1, 6, 14], "who cannot be posed is seen as he comes"


def test_a_wide_photo_fills_a_wide_view() -> None:
    assert mean_step((43, 64), (64, 96)) == pytest.approx(2 / 3, rel=0.1)
    assert mean_step((43, 64), (96, 64)) == pytest.approx(1.0, rel=0.1)
    assert mean_step((96, 64), (64, 96)) == pytest.approx(1.5, rel=0.1)
    assert mean_step((96, 40), (96, 40)) == pytest.approx(1.0, rel=0.1), "narrow photos fill narrow views"
    whole, filled = (mean_step(extent, (64, 96), hard_ones=True) for extent in ((96, 64), (43, 64)))
    assert filled == pytest.approx(whole * 2 / 3 / 1.5, rel=0.02), "the same draws, of hard views"
