"""A bare limb before the body is a limb in the part maps to learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partswap.distillation.appearances import FINER, limbs_drawn
from partswap.distillation.crossings import crossing, nothing_but
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.puppets import Limb

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
