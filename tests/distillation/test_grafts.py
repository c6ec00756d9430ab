"""Cut subjects completed from whole ones: a net that reads height within the subject is told the truth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.distillation.grafts import _with_lower_half, complete_from_donors
from partswap.distillation.targets import doubtful
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


@pytest.mark.parametrize("same", [True, False])
def test_a_part_map_stays_where_the_net_is_no_surer_and_is_learned_from_only_if_it_sees_the_same(
    same: bool,
) -> None:
    """A net that is sure of feet where the photo ends cannot be surer: its word is not taken for it."""
    photos = figures([*WHOLE, (H - 86, H, 40, 80)])

    def always_sure(x: Tensor) -> Tensor:
        by_height = thirds(x).argmax(1)
        return F.one_hot(by_height * 0 if same else by_height, 3).movedim(-1, 1).float()

    before = (always_sure(photos.images.float() / 127.5 - 1) * 255).to(torch.uint8)
    targets = before.clone()
    completed = complete_from_donors(always_sure, photos, targets, seeded())
    assert completed.tolist() == [False] * 5 + [same]
    assert torch.equal(targets, before)
    assert doubtful(targets, photos, completed).tolist() == [False] * 5 + [not same]


def test_what_is_surer_without_anything_below_is_not_for_the_lower_half_to_take() -> None:
    """Part maps are averages and less sure than one look; only what beats one look has gained by it."""
    photos = figures([*WHOLE, (H - 86, H, 40, 80)])
    targets = as_seen(photos)
    targets[5] = 85
    before = targets.clone()

    def surest_alone(x: Tensor) -> Tensor:
        height = (x[:, 0] > 0).any(2).sum(1) / x.shape[2]
        sure = torch.where(height < 0.6, 0.9, 0.6).view(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        return F.avg_pool2d(torch.cat([sure, (1 - sure) / 2, (1 - sure) / 2], 1), 4)

    complete_from_donors(surest_alone, photos, targets, seeded())
    assert torch.equal(targets, before)


@pytest.mark.parametrize("level", [0.25, 0.6])
@pytest.mark.parametrize("larger", [0.75, 1.5])
def test_what_is_seen_above_the_cut_comes_back_to_where_it_was(level: float, larger: float) -> None:
    """Photos whose red grows with x and green with y, in a frame with a margin on every side."""
    masks = torch.zeros(2, 1, H, W, dtype=torch.uint8)
    masks[0, :, 60:150, 30:60] = 255  # cut, where the photo ends
    masks[0, :, 60:80, 20:110] = 255
    masks[1, :, 20:180, 50:70] = 255
    masks[1, :, 108:180, 44:84] = 255
    inside = torch.zeros_like(masks)
    inside[0, :, 20:150, 10:110] = 1
    inside[1] = 1
    red = torch.arange(W).view(1, 1, 1, W).expand(1, 1, H, W)
    green = torch.arange(H).view(1, 1, H, 1).expand(1, 1, H, W)
    images = torch.cat([red, green, green * 0], 1).expand(2, 3, H, W).to(torch.uint8).clone()
    images[1, 2] = 255
    photos = PhotoSet(images, masks, inside, torch.arange(2), ["", ""], [])
    pictures = []

    def linear(x: Tensor) -> Tensor:
        pictures.append((x + 1) * 127.5)
        return F.avg_pool2d(pictures[-1], 4)

    cut, donor = torch.tensor([0]), torch.tensor([1])
    back = _with_lower_half(linear, photos, cut, donor, torch.tensor([level]), larger)
    rows, columns = slice(7, 36), slice(4, 26)
    expected = F.avg_pool2d(images[:1].float(), 4)
    torch.testing.assert_close(back[0, :2, rows, columns], expected[0, :2, rows, columns], atol=0.05, rtol=0)
    # Below it lies the donor, at its own row and at the same middle and width.
    red_there, green_there, blue_there = pictures[0][0]
    row = int((blue_there > 250).any(1).nonzero()[0, 0]) + 1
    above = red_there[row - 4]
    step = float(above[41] - above[40])  # pixels of the photo per pixel of the picture
    width, middle = (20, 60) if level < 0.6 else (40, 64)
    for of_photo, of_donor in ((45, middle), (30, middle - width / 2)):
        x = int((above - of_photo).abs().argmin())
        assert float(red_there[row, x]) == pytest.approx(of_donor, abs=1.0)
    assert float(green_there[row, x]) == pytest.approx(20 + level * 159 + 1.5 * step * width / 30, abs=2.5)


def test_nothing_is_done_where_most_photos_end_so_or_nobody_is_whole() -> None:
    cut = (H - 86, H, 40, 80)
    for boxes in ([*WHOLE, *[cut] * 6], [*WHOLE[:2], cut], [(80, 120, 8, 120)] * 5 + [cut]):
        photos = figures(boxes)
        before = as_seen(photos)
        targets = before.clone()
        assert not complete_from_donors(thirds, photos, targets, seeded()).any()
        assert torch.equal(targets, before)


def test_where_no_photo_ends_early_there_is_nothing_to_do_or_to_report() -> None:
    photos = figures(WHOLE)
    targets = as_seen(photos)
    told: list[tuple[int, int]] = []
    assert not complete_from_donors(
        thirds, photos, targets, seeded(), report=lambda *done: told.append(done)
    ).any()
    assert told == [], "no share of nothing"


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
