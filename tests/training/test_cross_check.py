"""Foreground that no other photo speaks for, such as weights in hands, is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from partswap.errors import UsageError
from partswap.nets.encoder import Encoder
from partswap.training import cross_check
from partswap.training.cross_check import FOLDS, sizeable, unsupported, wider_than_outline
from partswap.training.data import PhotoSet
from partswap.training.options import TrainOptions

N, SIDE = 24, 128
PLATE = (slice(None), slice(40, 72), slice(88, 120))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Encoder("test_byobnet").eval()


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dozen drawn photos need no thousand steps."""
    monkeypatch.setattr(cross_check, "STEPS", 60)
    monkeypatch.setattr(cross_check, "BATCH", 256)


def gym(*odd: int) -> PhotoSet:
    """Red people before green walls, with dark plates, which some masks take in."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 40, (N, 3, SIDE, SIDE), generator=g, dtype=torch.uint8)
    images[:, 1] += 120
    masks = torch.zeros(N, 1, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0, 16:112, 24:80] += 180
    images[:, 1, 16:112, 24:80] -= 120
    masks[:, :, 16:112, 24:80] = 255
    images[(slice(None), *PLATE)] //= 8
    for number in odd:
        masks[(number, *PLATE)] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(N), [str(i) for i in range(N)], [])


def share(found: Tensor, where: Any) -> float:
    return float(found[where].float().mean())


def test_a_plate_that_one_mask_takes_in_is_found_and_nothing_else(encoder: Encoder) -> None:
    photos = gym(5)
    assert photos.masks is not None
    reports: list[tuple[int, int]] = []
    everyone = torch.ones(N, dtype=torch.bool)
    found = unsupported(encoder, photos, everyone, 1, lambda done, total: reports.append((done, total)))
    assert found.dtype is torch.bool
    assert found.shape == photos.masks.shape
    assert share(found, (5, *PLATE)) > 0.6
    assert not found[:, :, 24:104, 32:72].any(), "people stay"
    assert not (found & (photos.masks < 128)).any(), "only foreground is found"
    others = torch.arange(N) != 5
    assert share(found[others], photos.masks[others] > 127) < 0.01
    assert reports[-1] == (2 * N, 2 * N)
    assert reports == sorted(reports)
    assert torch.equal(found, unsupported(encoder, photos, everyone, seed=1)), "a resumed run finds the same"


def test_neighbours_in_a_fold_do_not_speak_for_each_other(encoder: Encoder) -> None:
    """A fifth of the photos has a plate in its mask: with them among those that teach, .79 would be the most
    that can be known of plates."""
    fold = [i for i in range(N) if i * FOLDS // N == 1]
    found = unsupported(encoder, gym(*fold), torch.ones(N, dtype=torch.bool), seed=1)
    assert all(share(found, (number, *PLATE)) > 0.6 for number in fold)


def test_what_photos_of_other_folds_show_as_well_stays(encoder: Encoder) -> None:
    found = unsupported(encoder, gym(*range(0, N, 2)), torch.ones(N, dtype=torch.bool), seed=1)
    assert share(found, (slice(0, N, 2), *PLATE)) < 0.01


def test_of_what_goes_the_soft_rim_goes_too() -> None:
    masks = torch.zeros(1, 1, 320, 224)
    masks[:, :, 20:300, 20:100] = 1
    masks[:, :, 120:160, 100:140] = 1
    masks[:, :, 118:162, 140:142] = 0.4
    sure = torch.zeros_like(masks, dtype=torch.bool)
    sure[:, :, 120:160, 100:140] = True
    sure[:, :, 40:42, 20:100] = True  # an edge
    found = sizeable(sure, masks)
    assert found[:, :, 120:160, 100:142].all()
    assert not found[:, :, :118].any()
    assert not found[:, :, :, :100].any(), "what is whole beside it stays"
    assert not (found & (masks == 0)).any()


def test_what_masks_say_and_the_student_does_not_is_asked_about(encoder: Encoder) -> None:
    photos = gym()
    assert photos.masks is not None
    photos.masks[(5, *PLATE)] = 120  # the average of the two
    photos.masks[(6, *PLATE)] = 20
    found = unsupported(encoder, photos, torch.ones(N, dtype=torch.bool), seed=1)
    assert share(found, (5, *PLATE)) > 0.6
    assert not found[6].any()


def test_only_photos_that_are_asked_about_are_checked(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = torch.arange(N) < N // 2
    assert not unsupported(encoder, gym(20), checked, seed=1).any()
    assert unsupported(encoder, gym(5), checked, seed=1)[5].any()
    assert not unsupported(encoder, gym(5).rows(torch.tensor([5])), torch.ones(1, dtype=torch.bool), 1).any()
    monkeypatch.setattr(cross_check, "_fitted", None)  # nothing is learned for nobody
    assert not unsupported(encoder, gym(*range(N)), torch.zeros(N, dtype=torch.bool), seed=1).any()


def test_where_much_of_a_foreground_would_go_it_is_clothes_that_are_new(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = gym()
    assert photos.masks is not None
    photos.masks[5, :, 16:112, 80:] = 255  # nearly half of the foreground is wall and plate
    everyone = torch.ones(N, dtype=torch.bool)
    assert not unsupported(encoder, photos, everyone, seed=1)[5].any()
    monkeypatch.setattr(cross_check, "LARGEST", 1.0)
    assert share(unsupported(encoder, photos, everyone, seed=1)[5], photos.masks[5] > 127) > 0.25


def test_beyond_the_photo_nothing_is_found(encoder: Encoder) -> None:
    photos = gym(5)
    everyone = torch.ones(N, dtype=torch.bool)
    assert unsupported(encoder, photos, everyone, seed=1)[5, :, :, 96:].any()
    photos.inside[5, :, :, 96:] = 0
    assert not unsupported(encoder, photos, everyone, seed=1)[5, :, :, 96:].any()


def test_what_is_no_wider_than_an_outline_goes() -> None:
    on = torch.zeros(1, 1, 320, 64, dtype=torch.bool)
    on[:, :, 100:104] = True
    on[:, :, 200:206, 10:30] = True
    kept = wider_than_outline(on)
    assert not kept[:, :, :200].any()
    assert torch.equal(kept[:, :, 200:], on[:, :, 200:])


def test_without_imagenet_features_nobody_can_be_asked(tmp_path: Path) -> None:
    options = TrainOptions(tmp_path, tmp_path / "out", cross_check=True, pretrained="none")
    with pytest.raises(UsageError, match="--pretrained none"):
        options.check()
