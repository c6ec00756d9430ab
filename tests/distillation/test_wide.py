"""Wide photos in a frame of their own orientation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from partswap.distillation.wide import from_wide_frame, in_wide_frame, wide
from partswap.training.data import PhotoSet

H, W = 96, 64


def photos_of(*extents: tuple[int, int]) -> PhotoSet:
    """Letterboxed photos, grey ramps from left to right and from top to bottom, a mask on their left half."""
    images = torch.zeros(len(extents), 3, H, W, dtype=torch.uint8)
    inside = torch.zeros(len(extents), 1, H, W, dtype=torch.uint8)
    masks = torch.zeros_like(inside)
    for i, (h, w) in enumerate(extents):
        y, x = (H - h) // 2, (W - w) // 2
        images[i, 0, :, x : x + w] = torch.linspace(0, 255, w).round()
        images[i, 1, y : y + h] = torch.linspace(0, 255, h).round().view(-1, 1)
        inside[i, :, y : y + h, x : x + w] = 1
        masks[i, :, y : y + h, x : x + w // 2] = 255
    names = [f"{i}.png" for i in range(len(extents))]
    return PhotoSet(images, masks, inside, torch.arange(len(extents)), names, [])


def test_wide_is_what_the_other_way_up_shows_larger() -> None:
    photos = photos_of((96, 64), (96, 30), (64, 64), (60, 64), (40, 64), (20, 64))
    assert wide(photos).tolist() == [False, False, False, False, True, True]


def test_a_wide_photo_fills_a_wide_frame() -> None:
    photos = photos_of((40, 64), (60, 64))
    seen = in_wide_frame(photos)
    assert seen.images.shape == (2, 3, W, H)
    assert seen.images.dtype == torch.uint8
    assert seen.extent().tolist() == [[60, 96], [64, 68]]
    assert seen.masks is not None
    ramp = seen.images[0, 0, 32].float()
    assert (ramp - torch.linspace(0, 255, 96)).abs().max() < 4
    assert (seen.masks[0, 0, 5:55, :45] == 255).all()
    assert (seen.masks[0, 0, :, 51:] == 0).all()
    assert (seen.masks[0, 0, :2] == 0).all()  # beyond the photo


def test_part_maps_come_back_to_where_they_belong() -> None:
    photos = photos_of((40, 64), (48, 64), (32, 64))
    targets = F.avg_pool2d(in_wide_frame(photos).images.float(), 4).round().to(torch.uint8)
    back = from_wide_frame(targets, photos)
    assert back.shape == (3, 3, H // 4, W // 4)
    assert back.dtype == torch.uint8
    expected = F.avg_pool2d(photos.images.float(), 4)
    within = -F.max_pool2d(-F.avg_pool2d(photos.inside.float(), 4), 3, 1, 1) > 0.99  # not at the border
    within = within.expand_as(expected)
    assert (back.float() - expected)[within].abs().max() < 12  # the ramps climb by 16 to 32 a pixel
