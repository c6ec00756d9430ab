"""What lies behind a limb that is taken away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from partswap.training.behind import without_limb

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def crossed(before: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A red trunk, part 1, and a blue arm, part 2, across it or beside it: photo and mask, parts, the arm."""
    trunk, arm = torch.zeros(1, 1, 128, 96), torch.zeros(1, 1, 128, 96)
    trunk[..., 20:110, 30:70] = 1
    if before:
        arm[..., 60:68, 10:80] = 1
    else:
        arm[..., 24:90, 70:78] = 1
    trunk = trunk * (1 - arm)
    colours = (torch.tensor(one).view(1, 3, 1, 1) for one in (RED, BLUE))
    photo = sum((part * colour for part, colour in zip((trunk, arm), colours, strict=True)), torch.zeros(1))
    both = torch.cat([photo + 0.5 * (1 - trunk - arm), trunk + arm], 1)
    parts = F.avg_pool2d(torch.cat([trunk, arm], 1), 2)
    return both, parts / parts.sum(1, keepdim=True).clamp(min=1e-4), arm


def test_behind_an_arm_before_the_body_is_the_body() -> None:
    both, parts, arm = crossed(before=True)
    seen, told = without_limb(both, parts, arm)
    middle = (slice(None), slice(None), slice(60, 68), slice(32, 68))
    assert (seen[:, 3:][middle] == 1).all()
    red = torch.tensor(RED).view(1, 3, 1, 1).expand(1, 3, 8, 36)
    torch.testing.assert_close(seen[:, :3][middle], red, atol=0.05, rtol=0)
    assert (told[0, 0, 30:34, 16:34] > 0.9).all()
    beside = (seen[0, 3, 60:68, 10:26], seen[0, 3, 60:68, 74:80])
    assert all((one == 0).all() for one in beside), "nothing is behind it there"


def test_an_arm_beside_the_body_leaves_nothing() -> None:
    both, parts, arm = crossed(before=False)
    seen, told = without_limb(both, parts, arm)
    torch.testing.assert_close(seen[:, 3:], both[:, 3:] * (1 - arm))
    torch.testing.assert_close(seen[:, :3], both[:, :3])
    torch.testing.assert_close(told, parts)


@pytest.mark.parametrize("width", [4, 5, 9])
def test_an_arm_at_the_edge_of_the_frame_leaves_nothing(width: int) -> None:
    both, parts, arm = crossed(before=False)
    both, parts, arm = (one[..., : one.shape[-1] * (70 + width) // 96] for one in (both, parts, arm))
    seen, _ = without_limb(both, parts, arm)
    assert (seen[0, 3, 24:90, 71:] == 0).all()


def test_what_is_left_open_behind_an_arm_stays_so() -> None:
    both, parts, arm = crossed(before=True)
    parts[:, :, 20:44] *= torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)  # the trunk there is any part
    _, told = without_limb(both, parts, arm)
    assert (told[0, :, 30:34, 16:34].sum(0) < 0.1).all()


def test_what_is_wider_than_a_limb_is_not_made_up() -> None:
    both, parts, arm = crossed(before=True)
    arm[..., 45:85, 10:80] = 1
    seen, _ = without_limb(both, parts, arm)
    assert (seen[0, 3, 60:70, 40:60] == 0).all()


def test_a_photo_without_the_limb_stays_as_it_is() -> None:
    both, parts, arm = crossed(before=True)
    seen, told = without_limb(both, parts, torch.zeros_like(arm))
    torch.testing.assert_close(seen, both)
    torch.testing.assert_close(told, parts)
