"""Part maps to learn from keep to the colours of their photos."""

from __future__ import annotations

import torch

from partswap.distillation.appearances import FINER, alike, targets_drawn
from partswap.parts import Parts
from partswap.training.data import PhotoSet
from partswap.training.puppets import Limb

H, W = 96, 64
VEST, SKIN = (20, 20, 24), (205, 150, 125)


def test_parts_of_one_name_and_of_one_limb_are_alike() -> None:
    parts = Parts.default(5).renamed({1: "arm", 2: "chest", 3: "arm", 4: "hand"})
    assert alike(parts) == [0, 1, 0, 2, 3]
    assert alike(parts, (Limb((1, 3, 4), 0.0),)) == [0, 1, 0, 0, 2]
    assert alike(Parts.default(3)) == [0, 1, 2]


def photos(n: int) -> PhotoSet:
    """A vest in the middle, bare arms left and right of it, nothing above."""
    images = torch.full((n, 3, H, W), 250, dtype=torch.uint8)
    images[:, :, 16:] = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1)
    images[:, :, 16:, 20:44] = torch.tensor(VEST, dtype=torch.uint8).view(3, 1, 1)
    masks = torch.zeros(n, 1, H, W, dtype=torch.uint8)
    masks[:, :, 16:] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(n), [""] * n, [])


def test_a_flank_that_was_an_arm_becomes_chest_and_open_maps_stay_open() -> None:
    targets = torch.zeros(2, 2, H // 4, W // 4, dtype=torch.uint8)
    targets[0, 0], targets[0, 1] = 45, 210  # arm
    targets[0, 0, :, 7:9], targets[0, 1, :, 7:9] = 210, 45  # chest, in the middle of the vest only
    before = targets.clone()
    reported: list[tuple[int, int]] = []
    drawn = targets_drawn(targets, photos(2), [0, 1], lambda *at: reported.append(at))
    assert torch.equal(targets, before)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (2, 2, FINER * H // 4, FINER * W // 4)
    assert not drawn[1].any()
    label = drawn[0].argmax(0)[8:]
    assert (label[:, 11:21] == 0).all(), "the vest is chest"
    assert (label[:, :9] == 1).all()
    assert (label[:, 23:] == 1).all()
    assert ((drawn[0].int().sum(0) - 255).abs() <= 1).all()
    nobody = drawn[0].argmax(0)[0]
    assert (nobody == 0).nonzero()[:, 0].tolist() == [14, 15, 16, 17], "as it was"


def test_photos_of_one_colour_keep_their_part_maps() -> None:
    one = photos(1)
    one.images[:, :, 16:] = 120
    targets = torch.zeros(1, 2, H // 4, W // 4, dtype=torch.uint8)
    targets[:, 0, :, :8] = targets[:, 1, :, 8:] = 200
    targets[:, 1, :, :8] = targets[:, 0, :, 8:] = 55
    drawn = targets_drawn(targets, one, [0, 1])
    label = drawn[0].argmax(0)[8:]
    assert (label[:, :16] == 0).all()
    assert (label[:, 16:] == 1).all()
