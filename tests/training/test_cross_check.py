"""Foreground that no other photo speaks for, such as weights in hands, is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from partswap.errors import UsageError
from partswap.nets.encoder import Encoder
from partswap.training import cross_check
from partswap.training.cross_check import LARGEST, unsupported, wider_than_outline
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
    monkeypatch.setattr(cross_check, "STEPS", 120)
    monkeypatch.setattr(cross_check, "BATCH", 256)


def gym(odd: int | None = 5) -> PhotoSet:
    """Red people before green walls, with dark plates; one mask takes its plate in."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 40, (N, 3, SIDE, SIDE), generator=g, dtype=torch.uint8)
    images[:, 1] += 120
    masks = torch.zeros(N, 1, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0, 16:112, 24:80] += 180
    images[:, 1, 16:112, 24:80] -= 120
    masks[:, :, 16:112, 24:80] = 255
    images[(slice(None), *PLATE)] //= 8
    if odd is not None:
        masks[(odd, *PLATE)] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(N), [str(i) for i in range(N)], [])


def share(found: Tensor, where: Any) -> float:
    return float(found[where].float().mean())


def test_a_plate_that_one_mask_takes_in_is_found_and_nothing_else(encoder: Encoder) -> None:
    photos = gym()
    assert photos.masks is not None
    found = unsupported(encoder, photos, torch.ones(N, dtype=torch.bool), seed=1)
    assert found.dtype is torch.bool
    assert found.shape == photos.masks.shape
    assert share(found, (5, *PLATE)) > 0.6
    assert not found[:, :, 24:104, 32:72].any(), "people stay"
    assert not (found & (photos.masks < 128)).any(), "only foreground is found"
    others = torch.arange(N) != 5
    assert share(found[others], photos.masks[others] > 127) < 0.01
    again = unsupported(encoder, photos, torch.ones(N, dtype=torch.bool), seed=1)
    assert torch.equal(found, again), "a resumed run finds the same"


def test_only_photos_that_are_asked_about_are_checked(encoder: Encoder) -> None:
    checked = torch.arange(N) < N // 2
    assert not unsupported(encoder, gym(odd=20), checked, seed=1).any()
    assert unsupported(encoder, gym(odd=5), checked, seed=1)[5].any()
    assert not unsupported(encoder, gym(), torch.zeros(N, dtype=torch.bool), seed=1).any()
    assert not unsupported(encoder, gym().rows(torch.tensor([5])), torch.ones(1, dtype=torch.bool), 1).any()


def test_where_much_of_a_foreground_would_go_it_is_clothes_that_are_new(encoder: Encoder) -> None:
    photos = gym(odd=None)
    assert photos.masks is not None
    photos.masks[5, :, 16:112, 80:] = 255  # nearly half of the foreground is wall and plate
    found = unsupported(encoder, photos, torch.ones(N, dtype=torch.bool), seed=1)
    assert LARGEST < 48 / 104
    assert not found[5].any()


def test_beyond_the_photo_nothing_is_found(encoder: Encoder) -> None:
    photos = gym()
    photos = dataclasses.replace(photos, inside=photos.inside.clone())
    photos.inside[:, :, :, 80:] = 0
    assert not unsupported(encoder, photos, torch.ones(N, dtype=torch.bool), seed=1)[5].any()


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
