"""One step of distillation: views with their part maps, and the losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from partswap.discovery.step import normalise
from partswap.distillation import step
from partswap.distillation.looks import view_grids
from partswap.distillation.step import (
    OVERLAP_UNTIL,
    add_detail,
    distillation_losses,
    distillation_views,
    posterior_inside,
    soft_dice,
)
from partswap.distillation.train import _on_cpu
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.views import step_generator


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    images = torch.randint(0, 256, (8, 3, 64, 64), generator=seeded(), dtype=torch.uint8)
    masks = torch.zeros(8, 1, 64, 64, dtype=torch.uint8)
    masks[..., 16:48, 16:48] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(8), [str(i) for i in range(8)], [])


@pytest.fixture(scope="module")
def targets() -> torch.Tensor:
    top = torch.zeros(8, 2, 16, 16)
    top[:, 0, :8] = 255
    top[:, 1, 8:] = 255
    return top.to(torch.uint8)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_part_maps_of_views_sum_to_one(
    photos: PhotoSet, targets: torch.Tensor, share: float, size: tuple[int, int]
) -> None:
    photo, part_map = distillation_views(photos, targets, torch.arange(8), size, True, share, seeded(1))
    assert photo.shape == (8, 3, *size)
    assert part_map.shape == (8, 3, *size)
    assert photo.min() >= -1
    assert photo.max() <= 1
    assert part_map.min() >= 0
    torch.testing.assert_close(part_map.sum(1), torch.ones(8, *size), atol=2e-3, rtol=0)
    shown = part_map[:, 1:].sum((1, 2, 3))
    assert (shown > 0).float().mean() > 0.7  # most views show the subject


@pytest.mark.parametrize("batch", range(4, 40))
def test_every_batch_is_shared_out_among_the_kinds_of_view(
    photos: PhotoSet, targets: torch.Tensor, batch: int
) -> None:
    index = torch.arange(batch) % 8
    photo, part_map = distillation_views(photos, targets, index, (64, 64), True, 0.5, seeded())
    assert len(photo) == len(part_map) == batch


def test_plain_views_show_photos_nearly_as_they_come(photos: PhotoSet, targets: torch.Tensor) -> None:
    there = torch.nn.functional.interpolate(targets.float() / 255, size=(64, 64)) * (photos.masks > 127)

    near = [3, 7]
    asis = [0, 1, 2, 4, 5, 6]

    def overlap(
        plain: bool, limbs: tuple[Limb, ...] = (), which: Sequence[int] = tuple(asis), seed: int = 1
    ) -> float:
        _, seen = distillation_views(
            photos, targets, torch.arange(8), (64, 64), True, 1.0, seeded(seed), limbs, plain
        )
        both, either = torch.minimum(seen[:, 1:], there), torch.maximum(seen[:, 1:], there)
        return float(both[list(which)].sum() / either[list(which)].sum())

    assert overlap(plain=True) > 0.6 > 0.4 > overlap(plain=False)
    assert overlap(plain=True, which=near) < 0.5, "two in eight are from near"
    assert overlap(plain=True, limbs=(Limb((1,), 0.0),)) > 0.6, "it does not turn"
    turning = (Limb((1,), 180.0),)
    assert overlap(True, turning) == overlap(True), "nobody stands, so nobody is posed"
    narrow = replace(photos, masks=photos.masks.clone())
    narrow.masks[..., :24] = narrow.masks[..., 40:] = 0
    there = torch.nn.functional.interpolate(targets.float() / 255, size=(64, 64)) * (narrow.masks > 127)
    photos = narrow
    posed = [overlap(True, turning, (0,), seed) for seed in range(6)]
    assert overlap(True, turning, (1, 2, 4, 5, 6)) > 0.6 > 0.5 > sum(posed) / len(posed)


def test_most_plain_views_are_the_photos_themselves(photos: PhotoSet, targets: torch.Tensor) -> None:
    stills = [0, 1, 2, 4, 6]
    index, limbs = torch.arange(8), (Limb((1,), 0.0),)  # bare limbs, that sleeves could be painted on
    x = normalise(photos.images.float() / 255)

    def same(seen: torch.Tensor) -> list[bool]:
        pairs = zip(seen, x, strict=True)
        return [any(torch.allclose(a, b, atol=1e-5) for b in (one, one.flip(2))) for a, one in pairs]

    for seed in range(4):
        seen, part_map = distillation_views(
            photos, targets, index, (64, 64), True, 1.0, seeded(seed), limbs, True
        )
        assert same(seen) == [i in stills for i in range(8)]
        torch.testing.assert_close(part_map[stills, :1], 1 - photos.masks[stills].float() / 255)
    seen, _ = distillation_views(photos, targets, index, (64, 64), False, 1.0, seeded(1), (), True)
    torch.testing.assert_close(seen[stills], x[stills], atol=1e-5, rtol=0)  # no mirror images


def test_mirror_images_come_with_their_part_maps(photos: PhotoSet) -> None:
    masks = torch.zeros_like(photos.masks)
    masks[..., 16:48, 8:40] = 255
    sides = torch.zeros(8, 2, 16, 16, dtype=torch.uint8)
    sides[:, 0, :, :6], sides[:, 1, :, 6:] = 255, 255
    x, mask = normalise(photos.images.float() / 255), masks.float() / 255
    known = torch.nn.functional.interpolate(sides.float() / 255, size=(64, 64), mode="bilinear") * mask
    there = torch.cat([1 - mask, known], 1)
    aside = replace(photos, masks=masks)
    seen, part_map = distillation_views(
        aside, sides, torch.arange(8), (64, 64), True, 1.0, seeded(2), (), True
    )
    mirrored = {i: not torch.allclose(seen[i], x[i], atol=1e-5) for i in (0, 1, 2, 4, 6)}
    assert set(mirrored.values()) == {True, False}
    for i, turned in mirrored.items():
        expected = there[i].flip(2) if turned else there[i]
        torch.testing.assert_close(part_map[i], expected, atol=2e-3, rtol=0)


def test_which_pixels_are_looked_at_does_not_follow_from_which_photos() -> None:
    same = 0
    for number in range(200):
        g = step_generator(0, 1, number, torch.device("cpu"))
        index = torch.randint(1000, (8,), generator=g)
        choice = _on_cpu(g)
        size = torch.randint(4, (1,), generator=choice)
        rows_and_columns = torch.randint(2, (2,), generator=choice)
        drawn = torch.cat([size % 2, rows_and_columns])
        same += int((drawn == index[:3] % 2).sum())
    assert 240 < same < 360


def test_views_fit_what_the_photos_fill(
    photos: PhotoSet, targets: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def grids(axis: torch.Tensor, extent: torch.Tensor, *more: Any) -> tuple[torch.Tensor, ...]:
        told.append(extent)
        return view_grids(axis, extent, *more)

    monkeypatch.setattr(step, "view_grids", grids)
    inside = photos.inside.clone()
    inside[3, :, :10] = inside[3, :, -6:] = 0
    letterboxed = replace(photos, inside=inside)
    distillation_views(letterboxed, targets, torch.tensor([3, 0]), (64, 64), True, 0.5, seeded())
    h, w = inside.shape[-2:]
    assert told[0].tolist() == [[h - 16, w], [h, w]]


def test_the_same_generator_draws_the_same_views(photos: PhotoSet, targets: torch.Tensor) -> None:
    first, second, other = (
        distillation_views(photos, targets, torch.arange(8), (64, 64), True, 0.5, seeded(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], other[1])


def test_soft_dice_by_hand() -> None:
    a = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert soft_dice(a, a).item() == pytest.approx(
        0.5, abs=1e-3
    )  # the second channel is empty in both: 1 - 0
    assert soft_dice(a, a.flip(1)).item() == pytest.approx(1.0, abs=1e-3)
    half = torch.full((1, 2, 4, 4), 0.5)
    # 2 * 0.5 / (0.25 + 1) = 0.8 for the first channel, 0 for the second.
    assert soft_dice(half, a).item() == pytest.approx(1 - 0.4, abs=1e-3)


class Fixed(nn.Module):
    """Says the same logits of every photo."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_distillation_losses_by_hand_and_by_gradient() -> None:
    student = Fixed(torch.zeros(1, 3, 2, 2))
    part_map = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    losses, logits = distillation_losses(student, torch.zeros(1, 3, 2, 2), part_map)
    assert logits is student.logits or torch.equal(logits, student.logits)
    assert losses["cross_entropy"].item() == pytest.approx(math.log(3))
    assert losses["overlap"].item() == pytest.approx(0.5 * (1 - (2 / 3) / (1 / 9 + 1) / 3), abs=1e-3)
    for value in losses.values():
        (g,) = torch.autograd.grad(value, student.logits, retain_graph=True)
        assert (g[:, 1] < 0).all()
        assert (g[:, [0, 2]] > 0).all()


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_one_pixel_in_four_is_looked_at(at: tuple[int, int]) -> None:
    part_map = torch.rand(2, 3, 4, 6, generator=seeded()).softmax(1)
    student = Fixed(torch.randn(2, 3, 4, 6, generator=seeded(1)))
    losses, seen = distillation_losses(student, torch.zeros(2, 3, 4, 6), part_map, 0.0, at)
    rows, columns = slice(at[0], None, 2), slice(at[1], None, 2)
    assert torch.equal(seen, student.logits[..., rows, columns])
    alone, _ = distillation_losses(
        Fixed(seen.detach()), torch.zeros(2, 3, 2, 3), part_map[..., rows, columns]
    )
    for name, value in alone.items():
        torch.testing.assert_close(losses[name], value)
    (g,) = torch.autograd.grad(losses["cross_entropy"], student.logits)
    assert torch.count_nonzero(g[:, 0]) == 2 * 2 * 3


def test_where_the_part_is_unknown_any_part_will_do() -> None:
    logits = torch.randn(1, 4, 2, 2, generator=seeded())
    student = Fixed(logits)
    unknown = torch.zeros(1, 4, 2, 2)  # all foreground, no part named
    losses, _ = distillation_losses(student, torch.zeros(1, 3, 2, 2), unknown)
    background = logits.softmax(1)[:, 0]
    torch.testing.assert_close(losses["cross_entropy"], -(1 - background).log().mean())
    (g,) = torch.autograd.grad(losses["cross_entropy"], student.logits)
    assert (g[:, 0] > 0).all()  # background down
    among = (g[:, 1:] / logits[:, 1:].softmax(1)).flatten(2)  # all parts up, in the proportions they have
    torch.testing.assert_close(among, among[:, :1].expand_as(among))


def test_photos_without_part_maps_give_views_of_foreground_alone(
    photos: PhotoSet, targets: torch.Tensor
) -> None:
    index = torch.arange(8)
    _, with_parts = distillation_views(photos, targets, index, (64, 64), True, 1.0, seeded(1))
    _, without = distillation_views(photos, torch.zeros_like(targets), index, (64, 64), True, 1.0, seeded(1))
    assert torch.equal(without[:, 0], with_parts[:, 0])
    assert not without[:, 1:].any()


def test_the_overlap_loss_fades_before_the_round_ends() -> None:
    student = Fixed(torch.randn(1, 3, 4, 4, generator=seeded()))
    part_map = torch.rand(1, 3, 4, 4, generator=seeded()).softmax(1)
    at = [
        distillation_losses(student, torch.zeros(1, 3, 4, 4), part_map, s)[0]["overlap"].item()
        for s in (0.0, OVERLAP_UNTIL / 2, OVERLAP_UNTIL, 1.0)
    ]
    assert at[1] == pytest.approx(at[0] / 2)
    assert at[0] > 0
    assert at[2] == at[3] == 0.0


def test_a_students_posterior_leaves_the_background_out() -> None:
    logits = torch.randn(2, 4, 8, 8, generator=seeded())
    predict = posterior_inside(nn.Identity(), 4)
    parts = predict(logits)
    assert parts.shape == (2, 3, 2, 2)
    torch.testing.assert_close(parts.sum(1), torch.ones(2, 2, 2))
    louder = logits.clone()
    louder[:, 0] += 100
    torch.testing.assert_close(predict(louder), parts)


def test_only_enlarged_views_get_detail(photos: PhotoSet) -> None:
    views = photos.images[:8].float() / 255
    step = torch.tensor([0.3, 1.0] * 4)
    changed = False
    for seed in range(4):
        out = add_detail(views, photos, step, seeded(seed))
        assert out.min() >= 0
        assert out.max() <= 1
        assert torch.equal(out[1::2], views[1::2])
        changed |= not torch.equal(out[0::2], views[0::2])
    assert changed
