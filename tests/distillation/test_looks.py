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
    REHEARSED_SHARES,
    TURNED,
    _somewhere_on,
    eased,
    turns,
    view_grids,
    view_sizes,
)
from partswap.training.views import WarpRange, random_grid


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("span", [CLOSE, NEAR, FAR, TURNED])
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


def mean_step(extent: tuple[int, int], size: tuple[int, int], hard_ones: bool = False) -> float:
    """Pixels of photos in a frame of 96x64 per pixel of plain or hard views, on (geometric) average."""
    axis = torch.tensor([[0.0, -0.8, 0.9]]).repeat(40, 1)
    extents = torch.tensor([extent]).repeat(40, 1)
    hard, none = torch.full((40,), hard_ones), torch.zeros(40, dtype=torch.bool)
    _, step = view_grids(axis, extents, (96, 64), size, True, 1.0, seeded(), hard, none, none)
    return float(step.log().mean().exp())


def test_rehearsed_views_are_from_near() -> None:
    n = 64
    axis = torch.tensor([[0.0, -0.8, 0.9]]).repeat(n, 1)
    extents = torch.tensor([(96, 64)]).repeat(n, 1)
    rehearsed = torch.arange(n) % 2 == 0
    none = torch.zeros(n, dtype=torch.bool)
    grid, step = view_grids(axis, extents, (96, 64), (96, 64), True, 1.0, seeded(), none, rehearsed, none)
    near, plain = step[rehearsed], step[~rehearsed]
    assert plain.min() > 0.75
    assert near.median() < 0.5
    heights = grid[rehearsed][:, 48, 32, 1]  # the head is looked at most
    assert (heights < -0.3).float().mean() > 0.5


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_any_number_of_views_is_rehearsed(n: int) -> None:
    axis = torch.tensor([[0.0, -0.8, 0.9]]).repeat(n, 1)
    extents = torch.tensor([(96, 64)]).repeat(n, 1)
    every = torch.ones(n, dtype=torch.bool)
    grid, step = view_grids(axis, extents, (96, 64), (64, 64), True, 0.5, seeded(), ~every, every, ~every)
    assert grid.shape == (n, 64, 64, 2)
    assert sum(round(share * n) for share in REHEARSED_SHARES) == n, "none is turned"
    assert torch.isfinite(step).all()


@pytest.mark.parametrize("n", [1, 7, 8, 20])
def test_each_view_of_a_round_is_of_one_kind(n: int) -> None:
    for plain, puppets in itertools.product((False, True), (slice(0, 0), slice(0, n, 2))):
        hard, near, still = turns(n, plain, puppets)
        assert not (hard & near).any()
        assert not (hard & still).any()
        assert not (near & still).any()
        assert hard[puppets].all()
        assert hard.all() or plain
    hard, near, still = turns(24, True, slice(0, 0))
    assert (int(hard.sum()), int(near.sum()), int(still.sum())) == (0, 6, 15)
    assert int(turns(4, True, slice(0, 0))[1].sum()) == 1, "small batches too"
    hard, near, still = turns(8, True, slice(0, 8, 2))
    assert (int(hard.sum()), int(near.sum()), int(still.sum())) == (4, 2, 1)


def test_a_wide_photo_fills_a_wide_view() -> None:
    assert mean_step((43, 64), (64, 96)) == pytest.approx(2 / 3, rel=0.1)
    assert mean_step((43, 64), (96, 64)) == pytest.approx(1.0, rel=0.1)
    assert mean_step((96, 64), (64, 96)) == pytest.approx(1.5, rel=0.1)
    assert mean_step((96, 40), (96, 40)) == pytest.approx(1.0, rel=0.1), "narrow photos fill narrow views"
    whole, filled = (mean_step(extent, (64, 96), hard_ones=True) for extent in ((96, 64), (43, 64)))
    assert filled == pytest.approx(whole * 2 / 3 / 1.5, rel=0.02), "the same draws, of hard views"
