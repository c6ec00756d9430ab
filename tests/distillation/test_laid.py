"""Pieces of limbs laid over other parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from partswap.distillation import laid
from partswap.distillation.laid import laid_over
from partswap.distillation.step import distillation_views
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.puppets import puppet_views

ARM = Limb((1,), 0.0, over=(2,))
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """A red arm on the left, a blue head on the right, part 3 below both, on grey."""
    photo = torch.full((n, 3, 96, 64), 0.5)
    own = torch.zeros(n, 3, 24, 16)
    for part, colour, rows, columns in ((0, RED, (2, 14), (1, 5)), (1, BLUE, (2, 10), (8, 15))):
        own[:, part, slice(*rows), slice(*columns)] = 1
        where = (slice(None), slice(None), *(slice(4 * a, 4 * b) for a, b in (rows, columns)))
        photo[where] = torch.tensor(colour).view(1, 3, 1, 1)
    own[:, 2, 16:22, 2:14] = 1
    mask = torch.nn.functional.interpolate(own.sum(1, keepdim=True), scale_factor=4.0)
    return photo, mask, own


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laid, "LAID", 1.0)


def test_a_piece_of_the_limb_lies_on_the_other_part_with_its_part_map() -> None:
    photo, mask, own = scene()
    seen, foreground, parts = laid_over(photo, mask, own, [ARM], True, seeded())
    head = own[:, 1] > 0
    large = torch.nn.functional.interpolate(head.unsqueeze(1).float(), scale_factor=4.0)[:, 0] > 0
    red = (seen[:, 0] > 0.9) & (seen[:, 2] < 0.1)
    for i in range(len(photo)):
        assert (red[i] & large[i]).any()
        assert (parts[i, 0] > 0.9)[head[i]].any()
        as_before = (seen[i] == photo[i]).all(0)
        wholly, still = (
            torch.nn.functional.interpolate(one[None, None].float(), size=(24, 16), mode="area")[0, 0] == 1
            for one in (red[i], as_before)
        )
        assert (parts[i, 0][wholly] > 0.9).all(), "what looks like an arm is one"
        assert (parts[i, 1][still & head[i]] > 0.9).all(), "and nothing else of the head is"
    known = parts.sum(1)[own.sum(1) > 0]
    torch.testing.assert_close(known, torch.ones_like(known), atol=2e-3, rtol=0)
    beyond = red & (mask[:, 0] == 0)
    assert beyond.any()
    assert (foreground[:, 0][beyond] > 0.75).all()


def test_no_piece_hides_most_of_what_it_lies_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laid, "SCALES", (1.0, 2.5))
    photo, mask, own = scene(200)
    parts = laid_over(photo, mask, own, [ARM], True, seeded())[2]
    hidden = (parts[:, 0] * own[:, 1]).sum((1, 2)) / own[:, 1].sum((1, 2))
    assert hidden.max() < laid.HIDDEN + 0.05
    monkeypatch.setattr(laid, "HIDDEN", 1.0)
    parts = laid_over(photo, mask, own, [ARM], True, seeded())[2]
    assert ((parts[:, 0] * own[:, 1]).sum((1, 2)) / own[:, 1].sum((1, 2))).max() > 0.7


def test_what_is_left_open_stays_so_but_where_the_piece_lies() -> None:
    photo, mask, own = scene(30)
    own[:, 1, :6] = 0  # the upper half of the head
    seen, _, parts = laid_over(photo, mask, own, [ARM], True, seeded())
    opened = (own.sum(1) == 0) & (torch.nn.functional.avg_pool2d(mask, 4)[:, 0] == 1)
    changed = torch.nn.functional.avg_pool2d((seen != photo).any(1, keepdim=True).float(), 4)[:, 0]
    assert (parts.sum(1)[opened & (changed == 0)] == 0).all()
    some = parts.sum(1)[opened]
    assert (some > 0.9).any()
    assert not ((some > 0) & (some < 0.4)).any(), "no thin rim of it"


def test_pieces_are_mirrored_only_where_mirror_images_share_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    flips: list[Tensor] = []
    real = laid._grid

    def seen(*words: Tensor) -> Tensor:
        flips.append(words[4])
        return real(*words)

    monkeypatch.setattr(laid, "_grid", seen)
    laid_over(*scene(40), [ARM], False, seeded())
    assert all((one == 1).all() for one in flips)
    flips.clear()
    laid_over(*scene(40), [ARM], True, seeded())
    assert set(flips[0].tolist()) == {-1.0, 1.0}


def test_pieces_differ_from_photo_to_photo_and_come_again_with_the_seed() -> None:
    first, again = (laid_over(*scene(), [ARM], True, seeded(3))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("gone", [0, 1])
def test_where_the_limb_or_the_other_part_is_not_seen_nothing_changes(gone: int) -> None:
    photo, mask, own = scene()
    own[2, gone] = 0
    mask = torch.nn.functional.interpolate(own.sum(1, keepdim=True), scale_factor=4.0)
    seen, foreground, parts = laid_over(photo, mask, own, [ARM], True, seeded())
    for before, after in ((photo, seen), (mask, foreground), (own, parts)):
        torch.testing.assert_close(after[2], before[2])
        assert not torch.allclose(after[1], before[1])


def test_the_piece_keeps_its_shape_in_frames_of_any_aspect() -> None:
    """A square of 8 pixels, turned by a quarter and not scaled, is one again."""
    start, goal = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.5]])
    one = torch.ones(1)
    grid = laid._grid(start, goal, one * torch.pi / 2, one, one, (96, 32), (96, 32))
    picture = torch.zeros(1, 1, 96, 32)
    picture[..., 44:52, 12:20] = 1
    moved = torch.nn.functional.grid_sample(picture, grid, align_corners=False)
    expected = torch.zeros_like(picture)
    expected[..., 68:76, 12:20] = 1
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=0)


def test_only_a_share_of_photos_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laid, "LAID", 0.25)
    photo, mask, own = scene(200)
    seen, _, _ = laid_over(photo, mask, own, [ARM], True, seeded())
    changed = (seen != photo).flatten(1).any(1)
    assert 0.15 < changed.float().mean() < 0.35


def test_views_show_pieces_of_limbs_that_lie_over_something_and_of_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[tuple[Tensor, Tensor]] = []

    def keep(moved: object, both: Tensor, own: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        kept.append((both[:, 3:].clone(), own.clone()))
        return puppet_views(moved, both, own, *rest)

    photo, mask, own = scene(8)
    photos = PhotoSet(
        (photo * 255).to(torch.uint8), (mask * 255).to(torch.uint8),
        torch.ones(8, 1, 96, 64, dtype=torch.uint8), torch.arange(8), [str(i) for i in range(8)], [],
    )  # fmt: skip
    targets = (own * 255).to(torch.uint8)
    stills = [0, 1, 2, 4, 6]

    def views(limb: Limb) -> Tensor:
        size = (96, 64)
        return distillation_views(
            photos, targets, torch.arange(8), size, False, 1.0, seeded(1), (limb,), True
        )[1][stills, 1]

    plain, laid_on = views(Limb((1,), 0.0)), views(ARM)
    assert all((laid_on[i] - plain[i]).amax() > 0.9 for i in range(len(stills)))
    turning, over = (Limb((1,), 90.0, over=which) for which in ((), (2,)))
    monkeypatch.setattr("partswap.distillation.step.puppet_views", keep)
    monkeypatch.setattr("partswap.distillation.step.stands", lambda photos: torch.ones(8, dtype=torch.bool))
    kept.clear()
    views(turning), views(over)
    assert len(kept) == 2
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True)), "a puppet's joints are its own"
