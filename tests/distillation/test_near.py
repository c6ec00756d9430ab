"""Parts grouped once more from near: what looks otherwise there comes apart, and part maps are drawn anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.distillation import near
from partswap.distillation.near import (
    TURNED,
    Clusters,
    _turned,
    believed,
    cluster,
    from_near,
    redrawn,
    squares_around,
)
from partswap.distillation.near_file import parse_near, read_clusters, write_clusters
from partswap.errors import UsageError
from partswap.parts import Parts
from partswap.training.data import PhotoSet

H, W = 96, 64
PARTS = Parts.default(3).renamed({1: "head", 2: "neck", 3: "chest"})
HEAD, NECK, CHEST = 0, 1, 2
CHIN = slice(24, 32)
"""Rows of the green band of :func:`figures`."""


class Colours(nn.Module):
    """A net whose features are the colours: red is its part 1, green and blue are part 2, black is part 3."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse8, self.fuse4 = nn.AvgPool2d(8), nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        self.fuse8(x)
        self.fuse4(x)
        red, green, blue = ((x + 1) / 2).unbind(1)
        return 9 * torch.stack([torch.zeros_like(red) - 1, red, torch.maximum(green, blue), 0.5 + 0 * red], 1)


def figures(n: int = 12) -> PhotoSet:
    """A red head with a green chin and a blue collar on a black trunk, here and there."""
    images = torch.zeros(n, 3, H, W, dtype=torch.uint8)
    masks = torch.zeros(n, 1, H, W, dtype=torch.uint8)
    for i in range(n):
        columns = slice(16 + i % 5, 48 + i % 5)
        masks[i, :, 8:, columns] = 255
        for channel, rows in ((0, slice(8, 24)), (1, CHIN), (2, slice(32, 40))):
            images[i, channel, rows, columns] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(n), [str(i) for i in range(n)], [])


def part_maps(photos: PhotoSet) -> Tensor:
    """What :class:`Colours` says of whole photos."""
    logits = Colours()(photos.images.float() / 127.5 - 1)[:, 1:]
    return (F.avg_pool2d(logits, 4).softmax(1) * 255).round().to(torch.uint8)


def found(number: int = 2, of: Sequence[int] = (2,)) -> Clusters:
    photos = figures()
    return cluster(Colours(), photos, part_maps(photos), of, number, "abc", 0)  # type: ignore[arg-type]


def test_a_square_encloses_the_parts() -> None:
    photos = figures(1)
    masks = F.interpolate(photos.masks.float() / 255, size=(H // 4, W // 4), mode="area")  # type: ignore[union-attr]
    squares, there = squares_around(part_maps(photos), (2,), masks)
    x, y, half = squares[0].tolist()
    assert there.all()
    assert (x, y) == (pytest.approx(8, abs=0.6), pytest.approx(8, abs=0.6))
    assert 4 <= half < 5, "8 columns wide, and a margin"
    assert not squares_around(part_maps(photos) * 0, (2,), masks)[1].any()


def test_what_looks_otherwise_from_near_comes_apart_the_topmost_first() -> None:
    both = found()
    assert both.centres.shape == (2, 6)
    green, blue = both.centres[:, 1] - both.centres[:, 2]
    assert green > 0 > blue
    assert torch.equal(found().centres, both.centres), "the same seed, the same clusters"


def test_part_maps_are_drawn_anew() -> None:
    photos, clusters = figures(), found()
    targets = part_maps(photos)
    kinds = torch.tensor([[True, False, False], [False, False, True]])
    before = targets.clone()
    opened = redrawn(Colours(), photos, targets, clusters, kinds)  # type: ignore[arg-type]
    assert opened == 0
    best = targets.argmax(1)
    assert (before.argmax(1)[:, 6:8, 6:12] == NECK).all()
    assert (best[:, 6, 6:12] == HEAD).all(), "the chin is head"
    assert (best[:, 9, 6:12] == CHEST).all(), "the collar is chest"
    assert torch.equal(best[:, 12:], before.argmax(1)[:, 12:])
    assert (targets.sum(1, dtype=torch.int32) - 255).abs().max() <= 3


def test_a_photo_that_shows_something_else_from_near_is_left_open_there() -> None:
    photos = figures()
    targets = part_maps(photos)
    targets[:4] = 0
    targets[:4, HEAD, 6:10] = 255  # as of somebody the net has seen turned: it takes chin and collar for head
    targets[:4, NECK, :6] = 255
    targets[:4, CHEST, 10:] = 255
    kinds = torch.tensor([[True, False, False], [False, False, True]])
    assert redrawn(Colours(), photos, targets, found(), kinds) == 4  # type: ignore[arg-type]
    assert (targets[:4, :, 2:5, 6:12] == 0).all()
    assert (targets[:4, CHEST, 12:] == 255).all()


class Upright(Colours):
    """As :class:`Colours`, where the head is up; else all is chest to it."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        red = ((x[:, 0] > 0.9) & (x[:, 1] < 0)).float()
        half = red.shape[1] // 2
        up = red[:, :half].sum((1, 2)) > red[:, half:].sum((1, 2)) * 2 + 1
        logits[~up, 1:3] -= 99.0
        return logits


@pytest.mark.parametrize("degrees", [0.0, *TURNED])
def test_a_turn_and_its_inverse(degrees: float) -> None:
    points = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    back = _turned(_turned(points, degrees), -torch.full((2, 1, 1), degrees))
    assert torch.allclose(back, points, atol=1e-6)
    right = _turned(torch.tensor([1.0, 0.0]), degrees)
    assert right.tolist() == pytest.approx(
        [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], abs=1e-6
    )


@pytest.mark.parametrize("quarters", [1, -1])
def test_who_lies_is_looked_at_turned(quarters: int) -> None:
    """The same people lying: their part maps are known, from near they look right only when turned."""
    upright = figures(4)
    kinds = torch.tensor([[True, False, False], [False, False, True]])
    stood, lies = part_maps(upright), part_maps(upright).rot90(quarters, (2, 3)).contiguous()
    assert upright.masks is not None
    lying = PhotoSet(
        upright.images.rot90(quarters, (2, 3)).contiguous(),
        upright.masks.rot90(quarters, (2, 3)).contiguous(),
        upright.inside.rot90(quarters, (2, 3)).contiguous(),
        upright.partners, upright.names, [],
    )  # fmt: skip
    assert redrawn(Upright(), upright, stood, found(), kinds) == 0  # type: ignore[arg-type]
    assert (stood.argmax(1)[:, 6, 6:12] == HEAD).all()
    assert redrawn(Upright(), lying, lies, found(), kinds) == 0  # type: ignore[arg-type]
    back = lies.rot90(-quarters, (2, 3))
    assert torch.equal(back.argmax(1), stood.argmax(1))


def test_what_lies_beyond_the_frame_is_no_part_of_it() -> None:
    photos = figures(2)
    photos.images = torch.roll(photos.images, -20, dims=3)
    photos.masks = torch.roll(photos.masks, -20, dims=3)  # type: ignore[arg-type]
    photos.masks[:, :, :, 40:] = 0
    targets = part_maps(photos)
    masks = F.interpolate(photos.masks.float() / 255, size=(H // 4, W // 4), mode="area")
    squares, _ = squares_around(targets, (1, 2), masks)
    view = from_near(Colours(), photos.images, squares, (H // 4, W // 4))  # type: ignore[arg-type]
    outside = view.at.abs().amax(-1) > 1 + 4 / W
    on, _ = believed(view, targets, (1, 2), masks)
    assert outside.any()
    assert on.any()
    assert not (on & outside).any()


def test_shares_that_add_up_to_256_stay_certain() -> None:
    photos = figures()
    targets = part_maps(photos)
    here = targets.argmax(1) == NECK
    targets.movedim(1, -1)[here] = torch.tensor([60, 136, 60], dtype=torch.uint8)
    kinds = torch.tensor([[False, False, True], [False, False, True]])
    redrawn(Colours(), photos, targets, Clusters((1, 2, 3), found().centres, "abc"), kinds)  # type: ignore[arg-type]
    assert (targets.movedim(1, -1)[here].sum(-1, dtype=torch.int32) >= 250).all()


def test_what_lies_beyond_the_view_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "ENDS", 0.05)
    photos = figures()
    targets = part_maps(photos)
    targets[:, :, 21, 8] = 0
    targets[:, NECK, 21, 8] = 255
    before = targets.clone()
    kinds = torch.tensor([[True, False, False], [True, False, False]])
    redrawn(Colours(), photos, targets, found(), kinds)  # type: ignore[arg-type]
    masks = F.interpolate(photos.masks.float() / 255, size=(H // 4, W // 4), mode="area")  # type: ignore[union-attr]
    _, y, half = squares_around(before, (2,), masks)[0][0].tolist()
    far = slice(int(y + half) + 1, None)
    assert far.start < 21
    assert torch.equal(targets[0, :, far], before[0, :, far])


def test_parts_that_are_nowhere_are_named_in_a_sentence() -> None:
    photos = figures()
    targets = part_maps(photos)
    targets[:, NECK] = 0
    with pytest.raises(UsageError, match="hardly any photo"):
        cluster(Colours(), photos, targets, (2,), 2, "abc", 0)  # type: ignore[arg-type]


def model(revision: str) -> Any:
    return SimpleNamespace(revision=revision)


def test_the_file_keeps_what_was_found(tmp_path: Path) -> None:
    clusters = found()
    write_clusters(tmp_path / "near.safetensors", clusters)
    again = read_clusters(tmp_path / "near.safetensors")
    assert (again.of, again.revision) == (clusters.of, "abc")
    assert torch.equal(again.centres, clusters.centres)
    said = parse_near(f"{tmp_path}/near.safetensors:1=head,2=chest", PARTS, [model("x"), model("abc")])
    assert said is not None
    assert said.kinds.tolist() == [[True, False, False], [False, False, True]]
    assert said.checkpoint.revision == "abc"
    either = parse_near(f"{tmp_path}/near.safetensors:1=head+neck,2=3", PARTS, [model("abc")])
    assert either is not None
    assert either.kinds.tolist() == [[True, True, False], [False, False, True]]
    plus = PARTS.renamed({1: "hat+hair"})
    hat = parse_near(f"{tmp_path}/near.safetensors:1=hat+hair,2=3", plus, [model("abc")])
    assert hat is not None
    assert hat.kinds.tolist() == [[True, False, False], [False, False, True]]
    assert parse_near("", PARTS, []) is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("1=head", "2 of 1 to 2"),
        ("1+2=head,2=neck", "named twice"),
        ("1=head,3=neck", "from 1 to 2"),
        ("1=head,x=neck", "from 1 to 2"),
        ("1=head,2=tail", "tail"),
    ],
)
def test_every_number_is_named_once(tmp_path: Path, said: str, why: str) -> None:
    write_clusters(tmp_path / "near.safetensors", found())
    with pytest.raises(UsageError, match=why):
        parse_near(f"{tmp_path}/near.safetensors:{said}", PARTS, [model("abc")])


def test_other_files_and_other_models_are_refused(tmp_path: Path) -> None:
    write_clusters(tmp_path / "near.safetensors", found())
    (tmp_path / "text").write_text("no tensors")
    write_clusters(tmp_path / "damaged", Clusters((2,), torch.full((2, 6), torch.nan), "abc"))
    write_clusters(tmp_path / "larger", Clusters((2, 4), torch.zeros(2, 6), "abc"))
    for text, why in (
        (f"{tmp_path}/near.safetensors:1=head,2=neck", "was found by the model abc"),
        (f"{tmp_path}/nowhere:1=head", "no such file"),
        (f"{tmp_path}/text:1=head", "parts near"),
        (f"{tmp_path}/damaged:1=head,2=neck", "is damaged"),
        (f"{tmp_path}/larger:1=head,2=neck", "more parts than the 3"),
        ("near.safetensors", "--near is FILE"),
    ):
        with pytest.raises(UsageError, match=why):
            parse_near(text, PARTS, [model("other")])
