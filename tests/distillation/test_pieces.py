"""What comes in one piece stays in one: a fist is no second head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from partswap.distillation.pieces import in_one_piece
from partswap.training.data import PhotoSet

H, W = 32, 24
HEAD, BODY, ARM = 0, 1, 2


def people(n: int, two_heads: tuple[int, ...], two_arms: bool = True) -> tuple[Tensor, PhotoSet]:
    """A head on a body with an arm on each side, uint8 (n, 3, H, W); the net takes some fists for heads,
    and is less sure there."""
    targets = torch.zeros(n, 3, H, W, dtype=torch.uint8)

    def put(at: int, part: int, rows: slice, columns: slice, second: int, sure: int = 200) -> None:
        targets[at, :, rows, columns] = 0
        targets[at, part, rows, columns] = sure
        targets[at, second, rows, columns] = 255 - sure

    for at in range(n):
        put(at, HEAD, slice(2, 8), slice(9, 15), BODY)
        put(at, BODY, slice(8, 30), slice(8, 16), ARM)
        put(at, ARM, slice(9, 20), slice(4, 8), BODY)
        if two_arms:
            put(at, ARM, slice(9, 20), slice(16, 20), BODY)
        if at in two_heads:
            put(at, HEAD, slice(5, 9), slice(4, 8), ARM, 140)
    masks = (targets.sum(1, keepdim=True, dtype=torch.int32) > 0).to(torch.uint8) * 255
    images = torch.zeros(n, 3, H, W, dtype=torch.uint8)
    return targets, PhotoSet(images, masks, torch.ones_like(masks), torch.arange(n), [""] * n, [])


def test_a_second_head_becomes_what_comes_next() -> None:
    targets, photos = people(10, two_heads=(7, 9))
    targets[8] = 0  # left open
    before = targets.clone()
    changed = in_one_piece(targets, photos, [0, 1, 2])
    assert changed.nonzero()[:, 0].tolist() == [7, 9]
    fist = targets[[7, 9], :, 5:9, 4:8]
    assert (fist[:, ARM] == 255).all()
    assert not fist[:, HEAD].any()
    targets[[7, 9], :, 5:9, 4:8] = before[[7, 9], :, 5:9, 4:8]
    assert torch.equal(targets, before), "nothing else, and both arms stay"


def test_what_nothing_else_makes_up_for_is_left_open() -> None:
    targets, photos = people(4, two_heads=(3,))
    targets[3, ARM, 5:9, 4:8] = 0
    in_one_piece(targets, photos, [0, 1, 2])
    assert not targets[3, :, 5:9, 4:8].any()


@pytest.mark.parametrize("heads", [(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (0, 1, 2, 3, 4, 5, 6)])
def test_where_many_have_two_it_is_nothing_to_mend(heads: tuple[int, ...]) -> None:
    targets, photos = people(10, two_heads=heads)
    before = targets.clone()
    assert not in_one_piece(targets, photos, [0, 1, 2]).any()
    assert torch.equal(targets, before)


def test_pieces_of_parts_of_one_kind_may_touch() -> None:
    """Hair and face: two parts of one name, of which either would be in two pieces without the other."""
    targets, photos = people(10, two_heads=())
    four = torch.cat([targets, torch.zeros_like(targets[:, :1])], 1)
    four[:, 3, 4:6, 9:15], four[:, HEAD, 4:6, 9:15] = four[:, HEAD, 4:6, 9:15].clone(), 0
    before = four.clone()
    assert not in_one_piece(four, photos, [0, 1, 2, 0]).any()
    assert torch.equal(four, before)
