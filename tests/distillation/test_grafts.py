"""Cut subjects completed from whole ones: a net that reads height within the subject is told the truth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.distillation.grafts import complete_from_donors
from partswap.training.data import PhotoSet

H, W = 192, 128
TALL, WIDE = 144, 40


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def figures(boxes: list[tuple[int, int, int, int]], padded: int = 0) -> PhotoSet:
    """White boxes (top, bottom, left, right) on black; the last photo ends ``padded`` rows early."""
    n = len(boxes)
    masks = torch.zeros(n, 1, H, W, dtype=torch.uint8)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[:, top:bottom, left:right] = 255
    inside = torch.ones_like(masks)
    inside[-1, :, H - padded :] = 0
    return PhotoSet(masks.expand(n, 3, H, W).contiguous(), masks, inside, torch.arange(n), [""] * n, [])


WHOLE = [(24, 24 + TALL, left, left + WIDE) for left in (16, 32, 48, 64, 80)]


def thirds(x: Tensor) -> Tensor:
    """Three parts, by the thirds of a subject's height; sure where it is as slender as the whole figures."""
    on = F.avg_pool2d((x[:, :1] > 0).float(), 4)
    out = x.new_full((len(x), 3, *on.shape[2:]), 1 / 3)
    for posterior, mask in zip(out, on[:, 0] > 0.5, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        slender = len(rows) / len(columns) / (TALL / WIDE)
        sure = 0.9 if 0.85 < slender < 1.18 else 0.5
        part = ((torch.arange(mask.shape[0]) - rows[0]) * 3 // len(rows)).clamp(0, 2)
        posterior[:] = (1 - sure) / 2
        posterior[part, torch.arange(mask.shape[0])] = sure
    return out


def as_seen(photos: PhotoSet) -> Tensor:
    """What the net says of the photos as they are: uint8 (N, 3, H/4, W/4)."""
    return (thirds(photos.images.float() / 127.5 - 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("padded", [0, 48])
@pytest.mark.parametrize("wide", [40, 56])
def test_a_cut_subject_is_seen_as_the_upper_part_of_a_whole_one(padded: int, wide: int) -> None:
    """What is left of the figure is its upper 60 %, at 1.4 times the donors' size as well."""
    shown = round(0.6 * TALL * wide / WIDE)
    bottom = H - padded
    top = bottom - shown
    photos = figures([*WHOLE, (top, bottom, 40, 40 + wide)], padded)
    before = as_seen(photos)
    targets = before.clone()
    assert complete_from_donors(thirds, photos, targets, seeded()).tolist() == [False] * 5 + [True]
    assert torch.equal(targets[:5], before[:5])
    column = targets[5, :, :, (40 + wide // 2) // 4].float() / 255
    third = TALL * wide / WIDE / 3
    for row in range(top // 4 + 1, bottom // 4):
        y = (row * 4 + 2 - top) / third
        if abs(y - round(y)) * third > 8:  # away from the borders of parts
            assert column[int(y), row] > 0.8, row
    assert before[5, 2, bottom // 4 - 1].max() > 100  # as it was: feet where the photo ends


def test_a_part_map_stays_where_a_lower_half_makes_the_net_no_surer() -> None:
    photos = figures([*WHOLE, (H - 86, H, 40, 80)])
    before = as_seen(photos)

    def never_surer(x: Tensor) -> Tensor:
        return thirds(x) * 0 + 1 / 3

    targets = before.clone()
    assert complete_from_donors(never_surer, photos, targets, seeded()).tolist() == [False] * 5 + [True]
    assert torch.equal(targets, before)


def test_nothing_is_done_where_most_photos_end_so_or_nobody_is_whole() -> None:
    cut = (H - 86, H, 40, 80)
    for boxes in ([*WHOLE, *[cut] * 6], [*WHOLE[:2], cut], [(80, 120, 8, 120)] * 5 + [cut]):
        photos = figures(boxes)
        before = as_seen(photos)
        targets = before.clone()
        assert not complete_from_donors(thirds, photos, targets, seeded()).any()
        assert torch.equal(targets, before)


def test_the_same_seed_gives_the_same_part_maps_and_reports_every_batch() -> None:
    photos = figures([*WHOLE, *[(H - 86, H, 40, 80)] * 3])
    told: list[tuple[int, int]] = []
    both = []
    for _ in range(2):
        targets = as_seen(photos)
        complete_from_donors(
            thirds, photos, targets, seeded(), batch=2, report=lambda *done: told.append(done)
        )
        both.append(targets)
    assert torch.equal(*both)
    assert told == [(2, 3), (3, 3)] * 2
