"""Sleeves that are painted on bare limbs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from partswap.distillation import sleeves
from partswap.distillation.sleeves import with_sleeves
from partswap.training.limbs import Limb

SIDE, STRIDE = 128, 2
ARM = Limb(parts=(2,), degrees=0.0)
SHIRT, SKIN, TROUSERS, WALL = (0.1, 0.2, 0.6), (0.8, 0.6, 0.5), (0.1, 0.1, 0.1), (0.4, 0.7, 0.4)


@dataclass
class Figure:
    photo: Tensor
    mask: Tensor
    own: Tensor

    def painted(self, seed: int = 0) -> Tensor:
        return with_sleeves(self.photo, self.mask, self.own, [ARM], torch.Generator().manual_seed(seed))


def figure(arm: tuple[float, float, float] = SKIN) -> Figure:
    """Trunk (part 1), an arm beside it (2), legs (3), before a wall."""
    photo = torch.tensor(WALL).view(1, 3, 1, 1).repeat(1, 1, SIDE, SIDE)
    full = torch.zeros(1, 3, SIDE, SIDE)
    for part, (rows, columns, colour) in enumerate(
        [
            (slice(20, 68), slice(40, 80), SHIRT),
            (slice(24, 88), slice(80, 96), arm),
            (slice(68, 120), slice(40, 80), TROUSERS),
        ]
    ):
        full[:, part, rows, columns] = 1
        photo[:, :, rows, columns] = torch.tensor(colour).view(1, 3, 1, 1)
    photo = photo + 0.02 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))
    return Figure(photo.clamp(0, 1), full.sum(1, keepdim=True), full[..., ::STRIDE, ::STRIDE])


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleeves, "DRAWN", 1.0)
    monkeypatch.setattr(sleeves, "LENGTHS", (9.0, 9.0))


def test_a_bare_arm_gets_the_shirt_s_colour_and_nothing_else_changes() -> None:
    man = figure()
    out = man.painted()
    colour = out[0, :, 28:84, 82:94].mean((1, 2))
    torch.testing.assert_close(colour, torch.tensor(SHIRT), atol=0.05, rtol=0)
    elsewhere = torch.ones(SIDE, SIDE, dtype=torch.bool)
    elsewhere[24:88, 80:96] = False
    assert torch.equal(out[0, :, elsewhere], man.photo[0, :, elsewhere])


def test_a_short_sleeve_leaves_the_forearm_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleeves, "LENGTHS", (1.6, 1.6))
    man = figure()
    out = man.painted()
    assert float((out - man.photo)[0, :, 36:52, 82:94].abs().mean()) > 0.2
    assert torch.equal(out[0, :, 84:88, 80:96], man.photo[0, :, 84:88, 80:96])


def test_who_wears_a_sleeve_gets_no_other() -> None:
    man = figure(arm=SHIRT)
    assert torch.equal(man.painted(), man.photo)


def test_what_the_part_map_leaves_open_is_not_painted() -> None:
    man = figure()
    man.own[:] = 0
    assert torch.equal(man.painted(), man.photo)


def test_some_photos_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleeves, "DRAWN", 0.5)
    man = figure()
    changed = [not torch.equal(man.painted(seed), man.photo) for seed in range(20)]
    assert 4 < sum(changed) < 16
