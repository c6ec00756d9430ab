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


def raised(n: int, at: tuple[int, ...]) -> tuple[Tensor, PhotoSet]:
    """People of whom some have a forearm above the head, which the net takes for a part of it."""
    targets = torch.nn.functional.pad(people(n, two_heads=())[0], (0, 0, 12, 0))
    for one in at:
        targets[one, HEAD, 2:14, 10:12], targets[one, ARM, 2:14, 10:12] = 200, 55
    masks = (targets.sum(1, keepdim=True, dtype=torch.int32) > 0).to(torch.uint8) * 255
    images = torch.zeros(n, 3, H + 12, W, dtype=torch.uint8)
    return targets, PhotoSet(images, masks, torch.ones_like(masks), torch.arange(n), [""] * n, [])


def test_a_forearm_above_a_head_is_none_of_it() -> None:
    targets, photos = raised(20, at=(5,))
    before = targets.clone()
    changed = in_one_piece(targets, photos, [0, 1, 2])
    assert changed.nonzero()[:, 0].tolist() == [5]
    assert (targets[5, ARM, 2:11, 10:12] == 255).all()
    assert not targets[5, HEAD, 2:11].any()
    assert not targets[5, :, 12:13, 10:12].any(), "where the head may end is left open"
    assert torch.equal(targets[5, :, 15:], before[5, :, 15:]), "the head and what is below it stay"


def test_where_many_heads_are_long_that_is_how_they_are() -> None:
    targets, photos = raised(20, at=(1, 4, 7, 10))
    before = targets.clone()
    assert not in_one_piece(targets, photos, [0, 1, 2]).any()
    assert torch.equal(targets, before)


def test_hair_hangs() -> None:
    """A head may reach down along the body as far as it likes."""
    targets, photos = people(20, two_heads=())
    targets[3, :, 8:24, 7:8] = 0
    targets[3, HEAD, 7:24, 7:9], targets[3, ARM, 7:24, 7:9] = 160, 95
    targets[3, BODY, 7:24, 7:9] = 0
    assert photos.masks is not None
    photos.masks[3, :, 7, 7:9] = 255
    before = targets.clone()
    assert not in_one_piece(targets, photos, [0, 1, 2]).any()
    assert torch.equal(targets, before)
