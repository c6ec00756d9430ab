"""Trunk and sleeves in one flat colour."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from partswap.distillation import uniforms
from partswap.distillation.uniforms import CONTRAST, DARK, TINT, in_uniform
from partswap.training.puppets import Limb

SIDE, STRIDE = 128, 2
ARM = Limb(parts=(2,), degrees=0.0, before=(1,))
SHIRT, SKIN, TROUSERS, WALL = (0.3, 0.3, 0.6), (0.8, 0.6, 0.5), (0.1, 0.5, 0.1), (0.4, 0.7, 0.4)
TRUNK, SLEEVE = (slice(20, 68), slice(40, 80)), (slice(24, 80), slice(80, 96))
HAND, LEGS = (slice(80, 88), slice(80, 96)), (slice(68, 120), slice(40, 80))
COPIES = 16


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniforms, "DRAWN", 1.0)


def figure(sleeve: tuple[float, float, float] = SHIRT, shirt: float = 0.03) -> tuple[Tensor, Tensor, Tensor]:
    """Trunk (part 1), an arm with a bare hand beside it (2), legs (3), before a wall; shirt: its noise."""
    g = torch.Generator().manual_seed(1)
    photo = torch.tensor(WALL).view(1, 3, 1, 1).repeat(1, 1, SIDE, SIDE)
    full = torch.zeros(1, 3, SIDE, SIDE)
    areas = [(0, TRUNK, SHIRT), (1, SLEEVE, sleeve), (1, HAND, SKIN), (2, LEGS, TROUSERS)]
    for part, (rows, columns), colour in areas:
        full[:, part, rows, columns] = 1
        photo[:, :, rows, columns] = torch.tensor(colour).view(1, 3, 1, 1)
    noise = torch.randn(SIDE // 4, SIDE // 4, generator=g).repeat_interleave(4, 0).repeat_interleave(4, 1)
    photo[:, :, TRUNK[0], TRUNK[1]] += shirt * noise[TRUNK]
    photo = photo.clamp(0, 1).repeat(COPIES, 1, 1, 1)
    mask = full.sum(1, keepdim=True).repeat(COPIES, 1, 1, 1)
    return photo, mask, full[..., ::STRIDE, ::STRIDE].repeat(COPIES, 1, 1, 1)


def dressed(limbs: list[Limb], **of: object) -> tuple[Tensor, Tensor]:
    photo, mask, own = figure(**of)  # type: ignore[arg-type]
    return photo, in_uniform(photo, mask, own, limbs, torch.Generator().manual_seed(0))


def test_trunk_and_sleeve_get_one_flat_colour_and_nothing_else_changes() -> None:
    photo, out = dressed([ARM])
    trunk, sleeve = out[:, :, 24:64, 44:76], out[:, :, 28:70, 84:92]
    torch.testing.assert_close(trunk.mean((2, 3)), sleeve.mean((2, 3)), atol=0.03, rtol=0)
    before = photo[:, 0, 24:64, 44:76].std((1, 2))
    after = trunk[:, 0].std((1, 2))
    assert (after > 0.9 * CONTRAST[0] * before).all()
    assert (after < 1.1 * CONTRAST[1] * before).all()
    kept = torch.ones(SIDE, SIDE, dtype=torch.bool)
    kept[16:72, 36:100] = kept[16:92, 76:100] = False
    assert torch.equal(out[..., kept], photo[..., kept])
    hand = out[:, :, 84:88, 82:94] - photo[:, :, 84:88, 82:94]
    assert hand.abs().mean() < 0.05


def test_every_second_one_is_dark() -> None:
    _, out = dressed([ARM])
    level = out[:, :, 24:64, 44:76].mean((2, 3))
    dark = (level < DARK[1] + TINT + 0.01).all(1)
    own = (level - torch.tensor(SHIRT)).abs().amax(1) < 0.02
    assert (dark | own).all()
    assert 3 <= int(dark.sum()) <= 13


@pytest.mark.parametrize(
    ("limbs", "of", "why"),
    [
        ([ARM], {"sleeve": SKIN}, "the arm is bare"),
        ([ARM], {"shirt": 0.35}, "the shirt is motley"),
        ([Limb(parts=(2,), degrees=0.0)], {}, "the limb lies before nothing"),
        ([], {}, "nobody said what limbs are"),
    ],
)
def test_others_stay_as_they_are(limbs: list[Limb], of: dict[str, object], why: str) -> None:
    photo, out = dressed(limbs, **of)
    assert torch.equal(photo, out), why


def test_what_is_left_open_stays_as_it_is() -> None:
    photo, mask, own = figure()
    out = in_uniform(photo, mask, torch.zeros_like(own), [ARM], torch.Generator().manual_seed(0))
    assert torch.equal(photo, out)
