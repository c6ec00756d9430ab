"""Foreground from photos alone: a textured thing in the middle is found, with an encoder that never
learned."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
import torch

from partswap.discovery.model import FrozenFeatures
from partswap.training import foreground
from partswap.training.data import PhotoSet
from partswap.training.foreground import estimate_masks, place_prior
from partswap.training.views import step_generator

SIZE = 64


def textured_things(count: int) -> tuple[PhotoSet, np.ndarray]:
    """Checked ellipses, here and there about the middle, on soft backgrounds of any colour."""
    rng = np.random.default_rng(0)
    images, truth = [], []
    for _ in range(count):
        soft = cv2.resize(rng.uniform(60, 200, (3, 3, 3)).astype(np.float32), (SIZE, SIZE))
        on = np.zeros((SIZE, SIZE), np.uint8)
        centre = tuple(int(v) for v in rng.integers(26, 38, 2))
        axes = tuple(int(v) for v in rng.integers(11, 19, 2))
        cv2.ellipse(on, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        y, x = np.mgrid[:SIZE, :SIZE]
        checks = ((x // 3 + y // 3) % 2)[..., None]
        look = np.where(checks, rng.uniform(150, 255, 3), rng.uniform(0, 90, 3))
        photo = np.where(on[..., None] > 0, look, soft) + rng.normal(0, 4, (SIZE, SIZE, 3))
        images.append(np.clip(photo, 0, 255).astype(np.uint8))
        truth.append(on)
    stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    inside = torch.ones(count, 1, SIZE, SIZE, dtype=torch.uint8)
    names = [str(i) for i in range(count)]
    return PhotoSet(stack, None, inside, torch.arange(count), names, []), np.stack(truth) > 0


@pytest.fixture(scope="module")
def frozen() -> FrozenFeatures:
    torch.manual_seed(0)
    return FrozenFeatures("tf_efficientnet_lite0").eval()


def estimated(photos: PhotoSet, frozen: FrozenFeatures) -> torch.Tensor:
    return estimate_masks(photos, frozen, step_generator(0, 901, 0, torch.device("cpu")), workers=2)


def overlap(masks: torch.Tensor, truth: np.ndarray) -> np.ndarray:
    found = masks[:, 0].numpy() > 0
    return (found & truth).sum((1, 2)) / (found | truth).sum((1, 2))


def test_a_textured_thing_is_found_in_every_photo(frozen: FrozenFeatures) -> None:
    photos, truth = textured_things(24)
    masks = estimated(photos, frozen)
    assert masks.shape == (24, 1, SIZE, SIZE)
    assert masks.dtype is torch.uint8
    assert set(masks.unique().tolist()) <= {0, 255}
    iou = overlap(masks, truth)
    prior = place_prior(torch.ones(1, 1, SIZE, SIZE))[0, 0].numpy() > 0
    guess = (prior & truth).sum((1, 2)) / (prior | truth).sum((1, 2))
    assert iou.mean() > 0.85
    assert iou.mean() > guess.mean() + 0.1, "no better than the place in the photo alone"


def test_small_frames_are_looked_at_enlarged(frozen: FrozenFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, truth = textured_things(12)
    enlarged = overlap(estimated(photos, frozen), truth).mean()
    monkeypatch.setattr(foreground, "LOOKED_AT", SIZE)
    assert enlarged > overlap(estimated(photos, frozen), truth).mean() + 0.1


def test_flat_photos_do_not_break_it_and_the_same_photos_give_the_same_masks(frozen: FrozenFeatures) -> None:
    photos, _ = textured_things(6)
    photos.images[:3] = 128
    masks = estimated(photos, frozen)
    assert masks[3:].flatten(1).any(1).all()
    assert torch.equal(masks, estimated(photos, frozen))


def test_the_prior_knows_the_photo_from_its_repeated_edge() -> None:
    inside = torch.zeros(1, 1, 16, 16)
    inside[..., 8:] = 1  # the photo is the right half of the frame
    odds = place_prior(inside)[0, 0]
    assert (odds[:, :8] == -4).all()
    assert odds[8, 12] > 0
    assert odds[8, 12] == odds[:, 8:].max()
    assert odds[8, 15] < 0
    assert odds[0, 12] < 0


def test_settled_features_are_those_of_before() -> None:
    torch.manual_seed(1)
    frozen = FrozenFeatures("test_byobnet")
    for module in frozen.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    before = copy.deepcopy(frozen).eval()(x)
    for old, new in zip(before, frozen.settle(torch.float32)(x), strict=True):
        torch.testing.assert_close(new, old, atol=1e-4, rtol=1e-4)
