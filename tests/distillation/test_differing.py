"""How much of each photo a student sees otherwise than its part map, and how often it is shown."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from partswap.distillation.differing import FLOOR, MOST, differing, how_often
from partswap.training.data import PhotoSet


class Fixed(nn.Module):
    """A student that sees the same map in every photo."""

    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, photo: Tensor) -> Tensor:
        one = torch.nn.functional.one_hot(self.seen, 3).permute(2, 0, 1).float()
        return 10 * one.expand(len(photo), -1, -1, -1)


def square(left: int, right: int) -> Tensor:
    """(64, 64): a square of 32, its left and right half."""
    found = torch.zeros(64, 64, dtype=torch.long)
    found[16:48, 16:32], found[16:48, 32:48] = left, right
    return found


def told(*maps: Tensor) -> tuple[PhotoSet, Tensor]:
    """Photos with masks, and part maps of two parts a quarter as large."""
    n = len(maps)
    both = torch.stack(list(maps))
    masks = ((both > 0) * 255).to(torch.uint8).unsqueeze(1)
    targets = torch.stack([both == 1, both == 2], 1)[..., ::4, ::4].to(torch.uint8) * 255
    images = torch.zeros(n, 3, 64, 64, dtype=torch.uint8)
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(n), ["a"] * n, []), targets


def test_what_differs_is_a_share_of_the_frame() -> None:
    thin = square(1, 2)
    thin[16:48, 31] = 2  # one column: an outline's width
    photos, targets = told(square(1, 2), square(2, 2), square(2, 1), torch.zeros_like(thin), thin)
    seen = differing(Fixed(square(1, 2)), photos, targets, batch=2)
    assert seen.tolist() == pytest.approx([0, 1 / 8, 1 / 4, 1 / 4, 0], abs=0.02)
    assert seen[0] == seen[4] == 0


def test_where_a_part_map_leaves_open_what_is_there_nothing_differs() -> None:
    photos, targets = told(square(2, 2), square(2, 2))
    targets[0] = 0
    seen = differing(Fixed(square(1, 1)), photos, targets)
    assert seen[0] == 0
    assert seen[1] == pytest.approx(1 / 4, abs=0.02)
    nothing = differing(Fixed(square(0, 0)), photos, targets)
    assert nothing[0] == pytest.approx(1 / 4, abs=0.02), "but it is known to be foreground"


def test_photos_are_drawn_in_proportion_to_what_differs_within_bounds() -> None:
    shares = torch.tensor([0.0, 0.0, 0.1, 0.3])
    assert how_often(shares).tolist() == pytest.approx([0.05, 0.05, 0.15, 0.35])
    one = torch.zeros(100)
    one[7] = 1.0
    often = how_often(one)
    assert often[7] / often[0] == pytest.approx((MOST + FLOOR) / FLOOR)
    assert how_often(torch.zeros(5)).tolist() == [1.0] * 5
