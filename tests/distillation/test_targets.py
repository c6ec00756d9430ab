"""Part maps that the student learns from: warps undone exactly, averages that equal the map they average."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.distillation.targets import (
    TURNS,
    _best_turn,
    _compose,
    _invert_grid,
    _turn_grid,
    doubtful,
    doubts,
    ends_below,
    part_targets,
    settled,
)
from partswap.training.data import PhotoSet
from partswap.training.views import WarpRange, random_grid

CPU = torch.device("cpu")
AFFINE = WarpRange((0.7, 1.4), 40.0, 0.2, 0.0, 0.2, 0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def identity(n: int, h: int, w: int) -> Tensor:
    return random_grid(n, (h, w), WarpRange(), seeded())[0]


@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
def test_composing_with_the_inverse_is_the_identity(size: tuple[int, int]) -> None:
    grid, _ = random_grid(5, size, AFFINE, seeded(1))
    inverse = _invert_grid(grid)
    torch.testing.assert_close(_compose(grid, inverse), identity(5, *size), atol=1e-4, rtol=0)
    torch.testing.assert_close(_compose(inverse, grid), identity(5, *size), atol=1e-4, rtol=0)


def test_composition_has_a_unit_and_the_right_order() -> None:
    outer, _ = random_grid(2, (8, 8), AFFINE, seeded(1))
    torch.testing.assert_close(_compose(outer, identity(2, 8, 8)), outer, atol=1e-5, rtol=0)
    torch.testing.assert_close(_compose(identity(2, 8, 8), outer), outer, atol=1e-5, rtol=0)
    shift = identity(1, 8, 8) + torch.tensor([0.5, 0.0])
    double = identity(1, 8, 8) * 2
    torch.testing.assert_close(_compose(double, shift), identity(1, 8, 8) * 2 + torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("degrees", TURNS)
def test_turned_frames_keep_angles_and_hold_the_middle(degrees: float) -> None:
    grid = _turn_grid(degrees, 1, (64, 32), CPU)
    pixels = grid[0] * torch.tensor([16.0, 32.0])
    right, down = pixels[0, 1] - pixels[0, 0], pixels[1, 0] - pixels[0, 0]
    assert (right @ down).abs() < 1e-3
    assert right.norm().item() == pytest.approx(down.norm().item(), rel=1e-3)
    assert right.norm() >= 1 - 1e-4
    torch.testing.assert_close(grid.mean((0, 1, 2)), torch.zeros(2), atol=1e-5, rtol=0)


def stripes(values: list[int], h: int = 64, w: int = 64) -> PhotoSet:
    """Photos whose red says which part a pixel is: bands from top to bottom, smooth enough to be warped."""
    bands = torch.tensor(values, dtype=torch.float32).view(1, 1, -1, 1)
    red = F.interpolate(bands, size=(h, w), mode="nearest")
    images = torch.cat([red, torch.zeros(1, 2, h, w)], 1).to(torch.uint8).expand(3, 3, h, w).contiguous()
    full = torch.full((3, 1, h, w), 255, dtype=torch.uint8)
    return PhotoSet(images, full, torch.ones_like(full), torch.arange(3), ["a", "b", "c"], [])


def by_colour(x: Tensor) -> Tensor:
    """An equivariant predictor: the part is the red of the pixel, and nothing else."""
    red = F.avg_pool2d((x[:, :1] + 1) / 2, 4)
    return torch.cat([red, 1 - red], 1)


def test_the_average_over_views_of_an_equivariant_predictor_is_its_map() -> None:
    photos = stripes([255, 255, 0, 0])
    targets = part_targets(by_colour, photos, seeded(), views=24, turn=False)
    assert targets.shape == (3, 2, 16, 16)
    assert targets.dtype is torch.uint8
    total = targets.float().sum(1)
    assert ((total - 255).abs() <= 2).all()
    assert (targets[:, 0, :6] > 235).all()  # away from the border between the bands
    assert (targets[:, 1, 10:] > 235).all()
    middle = targets[:, 0, 7:9].float().mean()
    assert 60 < middle < 195


def test_targets_do_not_depend_on_the_size_of_the_batch_being_one_photo_or_all() -> None:
    photos = stripes([0, 85, 170, 255])
    first, second = (part_targets(by_colour, photos, seeded(), views=2, turn=False) for _ in range(2))
    assert torch.equal(first, second)


def left_or_right(x: Tensor) -> Tensor:
    """A predictor that is not equivariant to mirroring: the part is the half of the frame."""
    n, _, h, w = x.shape
    left = (torch.arange(w // 4) < w // 8).float().expand(n, 1, h // 4, w // 4)
    return torch.cat([left, 1 - left], 1)


def test_with_mirror_left_and_right_share_what_the_teacher_says() -> None:
    photos = stripes([128])
    plain = part_targets(left_or_right, photos, seeded(), views=32, mirror=False, turn=False).float()
    folded = part_targets(left_or_right, photos, seeded(), views=32, mirror=True, turn=False).float()
    assert plain[:, 0, :, :4].mean() > 240
    assert 60 < folded[:, 0, :, :4].mean() < 195


def test_a_photo_that_the_teacher_knows_only_when_turned_is_turned() -> None:
    # Red runs from left to right; the teacher is sure only where red runs from top to bottom.
    photos = stripes([255, 255, 0, 0])
    lying = PhotoSet(
        photos.images.transpose(-1, -2).contiguous(),
        photos.masks,
        photos.inside,
        photos.partners,
        photos.names,
        [],
    )

    def upright_only(x: Tensor) -> Tensor:
        red = (x[:, :1] + 1) / 2
        upright = (red[..., :16, :].mean((1, 2, 3)) - red[..., -16:, :].mean((1, 2, 3))).clamp(0, 1)
        strength = upright.view(-1, 1, 1, 1)
        return 0.5 * (1 - strength) + strength * by_colour(x)

    turned = part_targets(upright_only, lying, seeded(), views=8, mirror=False, turn=True)
    stuck = part_targets(upright_only, lying, seeded(), views=8, mirror=False, turn=False)
    assert (turned[:, 0, 4:12, 1:5] > 200).all()
    assert (turned[:, 1, 4:12, 11:15] > 200).all()
    assert stuck[:, 0, 4:12, 1:5].float().mean() < 190


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_lying_photo_is_turned_to_where_the_teacher_is_sure(scale: float) -> None:
    """A teacher that knows parts only where red grows downwards is sure of a photo that lies when it is
    turned."""
    ramp = torch.linspace(0, 255, 64).view(1, 1, 64, 1).expand(1, 3, 64, 64)
    images = torch.cat([ramp, ramp.transpose(2, 3)]).round().to(torch.uint8)
    full = torch.full((2, 1, 64, 64), 255, dtype=torch.uint8)

    def teacher(x: Tensor) -> Tensor:
        slope = F.pad(x[:, :1, 1:] - x[:, :1, :-1], (0, 0, 0, 1), mode="replicate")
        logits = torch.cat([slope, -slope], 1) * 200
        return F.avg_pool2d(logits, 4).softmax(1)

    mask = F.interpolate(full.float() / 255, size=(16, 16), mode="area")
    degrees = _best_turn(teacher, images.float() / 127.5 - 1, mask, scale, torch.float32)
    assert degrees[0] == 0
    assert abs(degrees[1]) == 90


@pytest.mark.parametrize(
    ("bottom", "padded", "cut"), [(60, 0, False), (64, 0, True), (40, 24, True), (36, 24, False)]
)
def test_a_subject_goes_on_below_where_it_meets_the_photo_s_lower_edge(
    bottom: int, padded: int, cut: bool
) -> None:
    """A photo that is letterboxed ends before its frame does."""
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    masks[0, :, 8:bottom, 16:48] = 255
    masks[1, :, 8:bottom, 16:48] = 255
    masks[1, :, 30:] = 0
    masks[1, :, 30:bottom, 30:34] = 255  # legs, an eighth as wide as the body
    inside = torch.ones_like(masks)
    inside[:, :, 64 - padded :] = 0
    photos = PhotoSet(images, masks, inside, torch.arange(2), ["a", "b"], [])
    assert ends_below(photos).tolist() == [cut, False]


def test_part_maps_are_left_open_where_the_teacher_is_not_sure_or_the_photo_cuts_the_body() -> None:
    images = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    masks = torch.zeros(8, 1, 64, 64, dtype=torch.uint8)
    masks[:, :, 8:56, 16:48] = 255
    masks[5, :, 8:] = 255
    photos = PhotoSet(images, masks, torch.ones_like(masks), torch.arange(8), list("abcdefgh"), [])
    sure = torch.full((8, 2, 16, 16), 0.2)
    sure[:, 0] = 0.8
    sure[2] = 0.5  # of two parts: not at all sure
    targets = (sure * 255).to(torch.uint8)
    assert doubtful(targets, photos).tolist() == [i in (2, 5) for i in range(8)]
    completed = torch.arange(8) >= 5  # what was seen whole may be learned from, if the teacher is sure
    assert doubtful(targets, photos, completed).tolist() == [i == 2 for i in range(8)]
    assert doubtful(targets, photos, ~completed).tolist() == [i in (2, 5) for i in range(8)]
    outside = targets.clone()
    outside[3, :, :2] = 127  # only background is in doubt
    busts = PhotoSet(images, masks.clone(), torch.ones_like(masks), torch.arange(8), list("abcdefgh"), [])
    assert busts.masks is not None
    busts.masks[:, :, 8:] = 255
    assert doubtful(targets, busts).tolist() == [i == 2 for i in range(8)]
    assert torch.equal(doubtful(outside, photos), doubtful(targets, photos))


def test_a_student_that_knows_poses_a_little_learns_from_what_is_half_sure_where_that_is_settled() -> None:
    images = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    masks = torch.zeros(8, 1, 64, 64, dtype=torch.uint8)
    masks[:, :, 8:56, 16:48] = 255
    masks[5:7, :, 8:] = 255  # these end before their subject does
    photos = PhotoSet(images, masks, torch.ones_like(masks), torch.arange(8), list("abcdefgh"), [])
    shares = torch.tensor([0.9, 0.9, 0.5, 0.6, 0.9, 0.9, 0.6, 0.6]).view(8, 1, 1, 1).expand(8, 1, 16, 16)
    targets = (torch.cat([shares, 1 - shares], 1) * 255).to(torch.uint8)
    nobody = torch.zeros(8, dtype=torch.bool)
    whole, partly = doubts(targets, photos, nobody)
    assert whole.nonzero()[:, 0].tolist() == [2, 6], "too unsure, and cut and not as sure as others"
    assert partly.nonzero()[:, 0].tolist() == [3, 7]
    whole, partly = doubts(targets, photos, ~nobody)
    assert whole.nonzero()[:, 0].tolist() == [2]
    assert partly.nonzero()[:, 0].tolist() == [3, 6, 7]


def test_what_kinds_share_is_settled_where_one_has_most() -> None:
    targets = torch.tensor([[100, 60, 95], [140, 10, 105], [0, 0, 0]], dtype=torch.uint8).view(3, 3, 1, 1)
    assert settled(targets, [0, 0, 1]).flatten().tolist() == [True, True, False]
    assert settled(targets, [0, 1, 2]).flatten().tolist() == [False, True, False]
