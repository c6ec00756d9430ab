"""A bare limb before the body is a limb, in the part maps to learn from and in photos that are segmented."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partswap.checkpoint.config import HangingLimb
from partswap.crossings import crossing, of_one_colour, with_crossings
from partswap.distillation.appearances import FINER, limbs_drawn, nothing_but
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb

H, W = 96, 64
VEST, SKIN = (20, 20, 24), (205, 150, 125)
PARTS = Parts.default(3).renamed({1: "chest", 2: "arm", 3: "hip"})
CROSSES = (Limb((2,), 0.0, before=(1,)),)
FOREARM = slice(48, 60)
COLUMNS = slice(20, 40)


def photo(trunk: tuple[int, int, int] = VEST, columns: slice = COLUMNS) -> PhotoSet:
    """Bare arms left and right of a trunk, and something bare before it in the rows FOREARM."""
    image = torch.full((1, 3, H, W), 250, dtype=torch.uint8)
    image[:, :, 16:] = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1)
    image[:, :, 16:, 20:44] = torch.tensor(trunk, dtype=torch.uint8).view(3, 1, 1)
    image[:, :, FOREARM, columns] = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1)
    mask = torch.zeros(1, 1, H, W, dtype=torch.uint8)
    mask[:, :, 16:] = 255
    return PhotoSet(image, mask, torch.ones_like(mask), torch.arange(1), [""], [])


def by_place() -> torch.Tensor:
    """What a net says that takes all of the middle for chest, whatever lies before it."""
    targets = torch.zeros(1, 3, H // 4, W // 4, dtype=torch.uint8)
    targets[:, 0], targets[:, 1] = 15, 240
    targets[:, 0, :, 5:11], targets[:, 1, :, 5:11] = 235, 20
    return targets


def in_the_middle(limbs: tuple[Limb, ...], of: PhotoSet) -> np.ndarray:
    """Labels, from 0, well inside what lies before the trunk."""
    drawn = limbs_drawn(by_place(), of, PARTS, limbs)[0]
    step = 4 // FINER
    rows = slice(FOREARM.start // step + 1, FOREARM.stop // step - 1)
    return drawn.argmax(0)[rows, 12:19].numpy()


def test_a_bare_forearm_before_a_vest_is_an_arm_and_the_vest_stays() -> None:
    assert (in_the_middle((Limb((2,), 0.0),), photo()) == 0).all(), "colours alone do not tell"
    assert (in_the_middle(CROSSES, photo()) == 1).all()
    drawn = limbs_drawn(by_place(), photo(), PARTS, CROSSES)[0]
    above = drawn.argmax(0)[10 : FOREARM.start // 2 - 1, 11:21]
    assert (above == 0).all()
    assert ((drawn.int().sum(0) - 255).abs() <= 2)[8:].all()


@pytest.mark.parametrize(
    ("why", "of"),
    [
        ("a print goes on into no limb", photo(columns=slice(26, 38))),
        ("on a bare chest nothing is to be seen", photo(trunk=SKIN)),
        ("a vest of nearly the skin's colour says nothing", photo(trunk=(195, 142, 118))),
    ],
)
def test_what_may_be_none_stays(why: str, of: PhotoSet) -> None:
    assert (in_the_middle(CROSSES, of) == 0).all(), why


def with_throat(colour: tuple[int, int, int] = SKIN) -> PhotoSet:
    """The same, below a head that is the hip, above a throat of a colour."""
    of = photo()
    of.images[:, :, 16:24, 20:44] = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)
    return of


def throat_by_place() -> torch.Tensor:
    targets = by_place()
    targets[:, :, 4:6, 5:11] = torch.tensor([5, 5, 245], dtype=torch.uint8).view(3, 1, 1)
    return targets


def test_a_limb_of_another_colour_than_what_is_bare_wears_a_sleeve() -> None:
    told = (Limb((2,), 0.0, before=(1,), bare=(3,)),)
    rows = slice(FOREARM.start // 2 + 1, FOREARM.stop // 2 - 1)

    def before_the_trunk(of: PhotoSet, targets: torch.Tensor) -> torch.Tensor:
        return limbs_drawn(targets, of, PARTS, told)[0].argmax(0)[rows, 12:19]

    assert (before_the_trunk(with_throat(), throat_by_place()) == 1).all()
    assert (before_the_trunk(with_throat((90, 120, 60)), throat_by_place()) == 0).all()
    assert (before_the_trunk(photo(), by_place()) == 0).all(), "nothing bare is seen to tell it by"


TOLD = HangingLimb((2,), before=(1,), bare=(3,))


def seen(of: PhotoSet) -> tuple[np.ndarray, np.ndarray]:
    """What a net says of it when it is segmented, float32 (4, H, W), and its pixels."""
    assert of.masks is not None
    given = throat_by_place().repeat_interleave(4, 2).repeat_interleave(4, 3)[0].float() / 255
    mask = of.masks[0].float() / 255 * 0.9
    part_map = torch.cat([1 - mask, given / given.sum(0) * mask]).numpy()
    return part_map, of.images[0].permute(1, 2, 0).contiguous().numpy()


def test_segment_sees_a_bare_forearm_before_a_vest() -> None:
    part_map, pixels = seen(with_throat())
    given = part_map.copy()
    found = with_crossings(part_map, pixels, [TOLD])
    assert (part_map == given).all(), "in place"
    assert found.dtype == np.float32
    assert (found[0] == part_map[0]).all()
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    inside = (slice(FOREARM.start + 1, FOREARM.stop - 1), slice(COLUMNS.start + 1, COLUMNS.stop - 1))
    assert (found[(2, *inside)] > 0.89).all()
    away = np.ones((H, W), bool)
    away[FOREARM.start - 2 : FOREARM.stop + 2, COLUMNS.start - 2 : COLUMNS.stop + 2] = False
    assert (found[:, away] == part_map[:, away]).all()


@pytest.mark.parametrize(
    ("why", "throat", "limbs"),
    [
        ("nothing was told", SKIN, []),
        ("of islands only", SKIN, [HangingLimb((2,), never=(3,))]),
        ("it may lie before something else", SKIN, [HangingLimb((2,), before=(3,), bare=(1,))]),
        ("the limb is in a sleeve", (90, 120, 60), [TOLD]),
    ],
)
def test_segment_leaves_the_rest_as_it_is(
    why: str, throat: tuple[int, int, int], limbs: list[HangingLimb]
) -> None:
    part_map, pixels = seen(with_throat(throat))
    assert with_crossings(part_map, pixels, limbs) is part_map, why


def test_a_few_pixels_of_what_is_bare_tell_nothing() -> None:
    of, targets = with_throat(), by_place()
    targets[:, :, 4, 5] = torch.tensor([5, 5, 245], dtype=torch.uint8).view(1, 3)
    told = (Limb((2,), 0.0, before=(1,), bare=(3,)),)
    rows = slice(FOREARM.start // 2 + 1, FOREARM.stop // 2 - 1)
    assert (limbs_drawn(targets, of, PARTS, told)[0].argmax(0)[rows, 12:19] == 0).all()


def test_a_sleeve_does_not_say_how_a_limb_looks() -> None:
    """Arms of which most is in sleeves of the vest's colour: it is the bare forearm that crosses."""
    of = with_throat()
    for columns in (slice(0, 20), slice(44, W)):
        of.images[:, :, 24:80, columns] = torch.tensor(VEST, dtype=torch.uint8).view(3, 1, 1)
    of.images[:, :, FOREARM, :40] = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1)
    part_map, pixels = seen(of)
    found = with_crossings(part_map, pixels, [TOLD])
    inside = (slice(FOREARM.start + 1, FOREARM.stop - 1), slice(COLUMNS.start + 1, COLUMNS.stop - 1))
    assert (found[1:].argmax(axis=0)[inside] == 1).all()


def test_what_crosses_keeps_its_outline_in_a_larger_photo() -> None:
    part_map, pixels = seen(with_throat())
    part_map, pixels = part_map.repeat(4, 1).repeat(4, 2), pixels.repeat(4, 0).repeat(4, 1)
    found = with_crossings(part_map, pixels, [TOLD])
    changed = (found != part_map).any(axis=0)
    expected = np.zeros_like(changed)
    expected[4 * FOREARM.start : 4 * FOREARM.stop, 4 * COLUMNS.start : 4 * COLUMNS.stop] = True
    assert (changed ^ expected).sum() < 0.03 * expected.sum()


def test_segment_finds_no_crossing_where_nobody_is() -> None:
    part_map, pixels = seen(with_throat())
    part_map[0], part_map[1:] = 1, 0
    assert with_crossings(part_map, pixels, [TOLD]) is part_map
    for size in ((1, 1), (1, 300), (300, 1)):
        some = np.full((4, *size), 0.25, np.float32)
        assert with_crossings(some, np.zeros((*size, 3), np.uint8), [TOLD]).shape == some.shape


def test_parts_of_one_limb_share_one_colour() -> None:
    assert of_one_colour(5, [(1, 3, 4)]) == [0, 1, 0, 0, 2]
    assert of_one_colour(5, [(1, 3), (3, 5)]) == [0, 1, 0, 2, 0]
    assert of_one_colour(3, []) == [0, 1, 2]


def test_it_lies_only_before_what_was_named() -> None:
    assert (in_the_middle((Limb((2,), 0.0, before=(3,)),), photo()) == 0).all()


def test_a_speck_is_no_crossing() -> None:
    given = np.zeros((2, 40, 40), np.float32)
    given[0, :, :30], given[1, :, 30:] = 1, 1
    fits = np.zeros_like(given)
    fits[0], fits[1, :, 30:] = given[0], 1
    own, on = np.array([False, True]), np.ones((40, 40), bool)
    for wide, enough in ((1, False), (2, False), (4, True)):
        some = fits.copy()
        some[0, 20 : 20 + wide, 30 - wide : 30] = 0
        some[1, 20 : 20 + wide, 30 - wide : 30] = 1
        found = crossing(given, some, own, ~own, on)
        assert found.any() == enough
        assert not enough or found.sum() == wide**2
    assert not crossing(given * 0, fits, own, ~own, on).any(), "all is left open"
    assert not crossing(given, fits, own, ~own, ~on).any()


def test_shares_of_the_limb_stay_and_what_has_none_is_left_open() -> None:
    given = np.array([[0.6, 0.6, 1.0], [0.3, 0.3, 0.0], [0.1, 0.1, 0.0]], np.float32)[:, None]
    own, where = np.array([False, True, True]), np.array([[True, False, True]])
    found = nothing_but(given, own, where)[:, 0]
    np.testing.assert_allclose(found, [[0, 0.6, 0], [0.75, 0.3, 0], [0.25, 0.1, 0]], atol=1e-6)
    assert given[0, 0, 0] == np.float32(0.6)
