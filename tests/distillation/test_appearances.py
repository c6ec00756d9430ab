"""Part maps to learn from keep to the colours of their photos."""

from __future__ import annotations

import torch

from partswap.distillation.appearances import FINER, alike, limbs_drawn
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb

H, W = 96, 64
VEST, SKIN = (20, 20, 24), (205, 150, 125)


def test_parts_of_one_name_are_of_one_kind() -> None:
    parts = Parts.default(5).renamed({1: "arm", 2: "chest", 3: "arm", 4: "hand"})
    assert alike(parts) == [0, 1, 0, 2, 3]
    assert alike(Parts.default(3)) == [0, 1, 2]


def test_a_bare_knee_below_shorts_is_no_hand() -> None:
    """Of two parts named leg one is in shorts and one is bare, as the arms are."""
    parts = Parts.default(3).renamed({1: "leg", 2: "arm", 3: "leg"})
    thighs = photos(1)  # the "vest" is a pair of shorts, and below it the knee is bare
    thighs.images[:, :, 72:, 20:44] = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1)
    targets = torch.zeros(1, 3, H // 4, W // 4, dtype=torch.uint8)
    targets[:, 1], targets[:, 0] = 240, 15
    targets[:, 0, :, 5:11], targets[:, 1, :, 5:11] = 230, 25
    targets[:, 2, 18:, 5:11], targets[:, 0, 18:, 5:11], targets[:, 1, 18:, 5:11] = 150, 5, 100
    label = limbs_drawn(targets, thighs, parts, ARM)[0].argmax(0)
    assert (label[38:46, 12:20] == 2).all()


PARTS = Parts.default(3).renamed({1: "chest", 2: "arm", 3: "hip"})
ARM = (Limb((2,), 0.0),)


def photos(n: int, sleeve: tuple[int, int, int] = SKIN, forearm: tuple[int, int, int] = SKIN) -> PhotoSet:
    """A vest in the middle, arms left and right of it, upper and lower ones; nothing above."""
    images = torch.full((n, 3, H, W), 250, dtype=torch.uint8)
    for rows, columns, colour in (
        (slice(16, 56), slice(0, W), sleeve),
        (slice(56, H), slice(0, W), forearm),
        (slice(16, H), slice(20, 44), VEST),
    ):
        images[:, :, rows, columns] = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)
    masks = torch.zeros(n, 1, H, W, dtype=torch.uint8)
    masks[:, :, 16:] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(n), [""] * n, [])


def by_place(n: int) -> torch.Tensor:
    """What a net says that takes all but the middle for arms; the lower half of the middle is hip."""
    targets = torch.zeros(n, 3, H // 4, W // 4, dtype=torch.uint8)
    targets[:, 0], targets[:, 1] = 45, 210
    targets[:, 0, :, 7:9], targets[:, 1, :, 7:9] = 210, 45
    targets[:, 2, 14:, 7:9], targets[:, 0, 14:, 7:9] = 150, 60
    return targets


def test_a_flank_that_was_an_arm_becomes_chest_and_open_maps_stay_open() -> None:
    targets = by_place(2)
    targets[1] = 0
    before = targets.clone()
    drawn = limbs_drawn(targets, photos(2), PARTS, ARM)
    assert torch.equal(targets, before)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (2, 3, FINER * H // 4, FINER * W // 4)
    assert not drawn[1].any()
    label = drawn[0].argmax(0)[8:]
    assert (label[:, 11:21] != 1).all(), "the vest is no arm"
    assert (label[:, :9] == 1).all()
    assert (label[:, 23:] == 1).all()
    assert ((drawn[0].int().sum(0) - 255).abs() <= 2).all()


def test_borders_of_what_is_no_limb_stay() -> None:
    """Chest and hip wear the same, and share what they had."""
    drawn = limbs_drawn(by_place(1), photos(1), PARTS, ARM)[0].float()
    hips = drawn[2, 30:, 15:17] / (drawn[0] + drawn[2])[30:, 15:17]
    torch.testing.assert_close(hips, torch.full_like(hips, 150 / 210), atol=0.02, rtol=0)


def test_a_sleeve_that_looks_like_the_trunk_is_left_open_where_forearms_are_bare() -> None:
    drawn = limbs_drawn(by_place(1), photos(1, sleeve=VEST), PARTS, ARM)[0]
    assert not drawn[:, 10:26, :9].any(), "sleeve or side of the shirt: who knows"
    assert (drawn[:, 32:46, :9].argmax(0) == 1).all(), "but the forearm is one"
    whole = limbs_drawn(by_place(1), photos(1, sleeve=VEST, forearm=VEST), PARTS, ARM)[0]
    assert (whole[:, 10:46, :9].argmax(0) == 1).all(), "all is sleeve: colour says nothing"


def test_without_limbs_of_one_appearance_nothing_is_drawn() -> None:
    targets = by_place(1)
    assert torch.equal(limbs_drawn(targets, photos(1), PARTS, ()), targets)
    assert torch.equal(limbs_drawn(targets, photos(1), PARTS, (Limb((2,), 90.0, dressed=True),)), targets)
