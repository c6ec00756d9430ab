"""A limb is no island in the midst of a leg."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partswap.checkpoint.config import HangingLimb
from partswap.distillation.appearances import FINER, limbs_drawn
from partswap.islands import islands, without_islands, without_second_pieces, without_strips
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb

H, W = 40, 24
HAND, LEG, CHEST = 0, 1, 2


def body() -> np.ndarray:
    """A chest above a leg, (3, H, W); nine in ten sure."""
    given = np.full((3, H, W), 0.05, np.float32)
    given[CHEST, :20] = given[LEG, 20:] = 0.9
    return given


def with_hand(rows: slice, columns: slice) -> np.ndarray:
    given = body()
    given[:, rows, columns] = np.array([0.6, 0.3, 0.1], np.float32).reshape(3, 1, 1)
    return given


def found(given: np.ndarray, on: np.ndarray | None = None) -> np.ndarray:
    known = (given.sum(axis=0) > 0.5) & (True if on is None else on)
    best = given.argmax(axis=0)
    where = np.zeros((H, W), bool)
    for island in islands(known & (best == HAND), known & (best == LEG), known):
        where[island.box] |= island.piece
    return where


def test_a_hand_in_the_midst_of_a_leg_is_none() -> None:
    knee = (slice(28, 32), slice(8, 12))
    expected = np.zeros((H, W), bool)
    expected[knee] = True
    assert (found(with_hand(*knee)) == expected).all()
    corner = (slice(36, 40), slice(20, 24))
    assert found(with_hand(*corner))[corner].all(), "also where the photo ends"


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [
        (slice(18, 26), slice(8, 12), "it reaches up to the chest"),
        (slice(6, 10), slice(8, 12), "it lies before the chest"),
        (slice(16, 20), slice(8, 12), "half of its border is chest"),
    ],
)
def test_a_hand_elsewhere_stays(rows: slice, columns: slice, why: str) -> None:
    assert not found(with_hand(rows, columns)).any(), why


def test_background_and_what_is_left_open_are_no_border() -> None:
    given = with_hand(slice(28, 32), slice(0, 24))
    on = np.ones((H, W), bool)
    given[:, 24:28] = 0  # open above
    assert found(given)[28:32].all()
    on[32:] = False
    assert not found(given, on).any(), "nothing is known around it"


def test_it_becomes_what_it_lies_in() -> None:
    parts = Parts.default(3).renamed({1: "hand", 2: "leg", 3: "chest"})
    targets = torch.from_numpy((with_hand(slice(28, 32), slice(8, 12)) * 255).round().astype(np.uint8))[None]
    image = torch.full((1, 3, 4 * H, 4 * W), 120, dtype=torch.uint8)
    masks = torch.full((1, 1, 4 * H, 4 * W), 255, dtype=torch.uint8)
    photos = PhotoSet(image, masks, torch.ones_like(masks), torch.arange(1), [""], [])
    there = (0, slice(None), slice(29 * FINER, 31 * FINER), slice(9 * FINER, 11 * FINER))
    before = limbs_drawn(targets, photos, parts, (Limb((1,), 0.0),))[there]
    assert (before.argmax(0) == HAND).all()
    after = limbs_drawn(targets, photos, parts, (Limb((1,), 0.0, never=(2,)),))[there]
    assert (after[LEG] > 250).all()
    assert (after[[HAND, CHEST]] == 0).all()


def test_segment_gives_an_island_to_what_it_lies_in() -> None:
    knee = (slice(28, 32), slice(8, 12))
    background = np.full((1, H, W), 0.2, np.float32)
    part_map = np.concatenate([background, with_hand(*knee) * 0.8])
    part_map[0, :, :2] = 0.9
    part_map[1:, :, :2] *= 0.125
    before = part_map.copy()
    found = without_islands(part_map, [HangingLimb((1,), (2,))])
    assert (part_map == before).all(), "in place"
    assert found.dtype == np.float32
    assert (found[0] == part_map[0]).all()
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(found[(2, *knee)], 0.8, atol=1e-6)
    elsewhere = np.ones((H, W), bool)
    elsewhere[knee] = False
    assert (found[:, elsewhere] == part_map[:, elsewhere]).all()
    assert without_islands(part_map, []) is part_map
    assert without_islands(part_map, [HangingLimb((1,), (3,))]) is part_map, "a leg is not what was told"


def test_what_only_touches_a_leg_stays() -> None:
    part_map = np.full((4, H, W), 0.02, np.float32)
    part_map[0] = 0.94
    part_map[:, 20:, 12:] = np.array([0.04, 0.02, 0.92, 0.02], np.float32).reshape(4, 1, 1)
    part_map[:, 8:24, 6:12] = np.array([0.04, 0.92, 0.02, 0.02], np.float32).reshape(4, 1, 1)
    assert without_islands(part_map, [HangingLimb((1,), (2,))]) is part_map, "a hand that hangs beside it"


def test_an_island_becomes_what_surrounds_it_and_not_another_of_these() -> None:
    given = with_hand(slice(28, 32), slice(8, 12))
    given[:, 28:32, 8:12] = np.array([0.85, 0.06, 0.09], np.float32).reshape(3, 1, 1)
    part_map = np.concatenate([np.zeros((1, H, W), np.float32), given])
    found = without_islands(part_map, [HangingLimb((1,), (2, 3))])
    assert (found[1:, 28:32, 8:12].argmax(axis=0) == LEG).all()


def test_noise_is_left_alone() -> None:
    part_map = np.full((4, 96, 96), 0.1, np.float32)
    part_map[2] = 0.5
    part_map[1, ::2, ::2] = 0.9
    assert without_islands(part_map, [HangingLimb((1,), (2,))]) is part_map


def with_fist(rows: slice = slice(3, 7), beside: int = 2) -> np.ndarray:
    """Of one with a raised arm whose fist is taken for a head, (5, H, W): background, arm, chest, head in two
    parts. ``beside`` is what is below the fist."""
    part_map = np.full((5, H, W), 0.01, np.float32)
    part_map[0] = 0.96
    for part, y, x in (
        (3, slice(4, 12), slice(14, 20)),
        (4, slice(4, 7), slice(14, 20)),
        (2, slice(12, 30), slice(12, 22)),
        (1, slice(18, 22), slice(4, 12)),
        (beside, slice(rows.stop, 18), slice(4, 9)),
    ):
        part_map[:, y, x] = 0.02
        part_map[part, y, x] = 0.92
    part_map[:, rows, slice(4, 9)] = np.array([0.04, 0.1, 0.2, 0.6, 0.06], np.float32).reshape(5, 1, 1)
    return part_map


def bordered(part_map: np.ndarray) -> np.ndarray:
    """The fist with chest at its side."""
    part_map[:, 3:7, 2:4] = np.array([0.02, 0.02, 0.92, 0.02, 0.02], np.float32).reshape(5, 1, 1)
    return part_map


HEAD_ONCE = [HangingLimb((1,), once=((3, 4),))]
FIST = (slice(3, 7), slice(4, 9))


def test_a_fist_is_no_second_head() -> None:
    part_map = with_fist(beside=1)
    given = part_map.copy()
    found = without_second_pieces(part_map, HEAD_ONCE)
    assert (part_map == given).all(), "in place"
    assert found.dtype == np.float32
    assert (found[0] == given[0]).all()
    np.testing.assert_allclose(found[(1, *FIST)], 0.96, atol=1e-6)
    elsewhere = np.ones((H, W), bool)
    elsewhere[FIST] = False
    assert (found[:, elsewhere] == given[:, elsewhere]).all(), "two parts of one head touch, and stay"


@pytest.mark.parametrize(
    ("why", "part_map", "limbs"),
    [
        ("a second person's, on a chest", with_fist(beside=2), HEAD_ONCE),
        ("nothing of it was told", with_fist(beside=1), [HangingLimb((1,), (2,))]),
        ("the chest is once, the head is not", with_fist(beside=1), [HangingLimb((1,), once=((2,),))]),
        ("the limb is another", with_fist(beside=1), [HangingLimb((2,), once=((3, 4),))]),
        ("a fifth of its border is chest", bordered(with_fist(beside=1)), HEAD_ONCE),
        ("it is about as large as the other", with_fist(slice(0, 8), beside=1), HEAD_ONCE),
        ("it lies on a chest", with_fist(beside=1)[[0, 2, 1, 3, 4]], HEAD_ONCE),
        (
            "there is nobody",
            np.ones((5, H, W), np.float32) * np.eye(5, 1, dtype=np.float32)[..., None],
            HEAD_ONCE,
        ),
    ],
)
def test_other_second_pieces_stay(why: str, part_map: np.ndarray, limbs: list[HangingLimb]) -> None:
    assert without_second_pieces(part_map, limbs) is part_map, why


def test_noise_has_no_second_pieces() -> None:
    part_map = np.full((4, 96, 96), 0.1, np.float32)
    part_map[1], part_map[2, ::2, ::2], part_map[2, :4, :4] = 0.6, 0.7, 0.7
    part_map /= part_map.sum(axis=0)
    assert without_second_pieces(part_map, [HangingLimb((1,), once=((2,),))]) is part_map
    assert without_second_pieces(part_map[:, :40, :40], [HangingLimb((1,), once=((2,),))]) is not part_map


def test_the_larger_of_two_heads_stays_even_on_an_arm() -> None:
    part_map = with_fist(beside=1)
    part_map[:, 4:12, 14:20] = part_map[:, 30:31, :1]  # his head is behind something
    assert without_second_pieces(part_map, HEAD_ONCE) is part_map


ARM, TRUNK, COAT = 1, 2, 3


def standing(arm: slice, columns: slice = slice(56, 70), part: int = ARM) -> np.ndarray:
    """Somebody who stands, a trunk above a coat, (4, 128, 96), with an arm in some rows and columns."""
    part_map = np.full((4, 128, 96), 0.01, np.float32)
    part_map[0] = 0.97
    for what, rows, at in ((TRUNK, slice(10, 60), slice(30, 58)), (COAT, slice(60, 120), slice(30, 58))):
        part_map[:, rows, at] = 0.02
        part_map[what, rows, at] = 0.94
    part_map[:, arm, columns] = np.array([0.1, 0.05, 0.5, 0.1], np.float32).reshape(4, 1, 1)
    part_map[part, arm, columns] = 0.75
    return part_map / part_map.sum(axis=0)


LIMB = [HangingLimb((ARM,), (COAT,))]


def test_a_strip_along_the_body_is_what_it_lies_along() -> None:
    part_map = standing(slice(64, 110), slice(55, 59))
    given = part_map.copy()
    found = without_strips(part_map, LIMB)
    assert (part_map == given).all(), "in place"
    assert found.dtype == np.float32
    assert (found[0] == given[0]).all()
    strip = (slice(64, 110), slice(55, 59))
    assert (found[1:].argmax(axis=0)[strip] == COAT - 1).all(), "and not the trunk, of which there is more"
    elsewhere = np.ones((128, 96), bool)
    elsewhere[strip] = False
    assert (found[:, elsewhere] == given[:, elsewhere]).all()


@pytest.mark.parametrize(
    ("why", "part_map", "limbs"),
    [
        ("an arm is thicker", standing(slice(20, 80), slice(56, 70)), LIMB),
        ("a finger reaches away", standing(slice(40, 44), slice(58, 94)), LIMB),
        ("there is hardly anything of it", standing(slice(64, 67), slice(55, 59)), LIMB),
        ("it is no limb", standing(slice(64, 110), slice(55, 59), part=TRUNK), LIMB),
        ("all is limb", standing(slice(64, 110), slice(55, 59)), [HangingLimb((1, 2, 3), (4,))]),
        ("nothing was told", standing(slice(64, 110), slice(55, 59)), []),
        ("nobody is there", np.eye(4, 1, dtype=np.float32)[..., None] * np.ones((4, 9, 9), np.float32), LIMB),
        ("a single pixel", np.full((4, 1, 1), 0.25, np.float32), LIMB),
    ],
)
def test_other_limbs_stay(why: str, part_map: np.ndarray, limbs: list[HangingLimb]) -> None:
    assert without_strips(part_map, limbs) is part_map, why
