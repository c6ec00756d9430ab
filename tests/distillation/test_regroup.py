"""Parts discovered again in a student's features: whole posteriors, ids that stay where they were."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from partswap.distillation.regroup import regroup
from partswap.training.data import PhotoSet


class Striped(nn.Module):
    """A student whose features are the photo's colours: red, green and blue bands are its parts 3, 1, 2."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse8 = nn.AvgPool2d(8)
        self.read = nn.Conv2d(3, 4, 1, bias=False)
        weight = torch.zeros(4, 3, 1, 1)
        weight[3, 0], weight[1, 1], weight[2, 2] = 8.0, 8.0, 8.0
        self.read.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.fuse8(x)
        return self.read(x)


@pytest.fixture(scope="module")
def bands() -> PhotoSet:
    """Red over green over blue, at heights that differ from photo to photo."""
    g = torch.Generator().manual_seed(0)
    images = torch.zeros(24, 3, 96, 64, dtype=torch.uint8)
    for image in images:
        a = int(torch.randint(3, 5, (1,), generator=g)) * 8
        b = int(torch.randint(7, 9, (1,), generator=g)) * 8
        image[0, :a], image[1, a:b], image[2, b:] = 255, 255, 255
    masks = torch.full((24, 1, 96, 64), 255, dtype=torch.uint8)
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(24), [str(i) for i in range(24)], [])


def test_clusters_follow_what_the_student_sees_and_keep_its_ids(bands: PhotoSet) -> None:
    student = Striped()
    found = regroup(student, bands, 3, True, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert found.shape == (24, 3, 24, 16)
    assert found.dtype == torch.uint8
    total = found.float().sum(1)
    assert (total - 255).abs().max() <= 2
    with torch.no_grad():
        before = F.avg_pool2d(student(bands.images.float() / 127.5 - 1)[:, 1:], 4).argmax(1)
    assert (found.argmax(1) == before).float().mean() > 0.95


def test_the_same_seed_gives_the_same_parts(bands: PhotoSet) -> None:
    once, again = (
        regroup(Striped(), bands, 3, True, torch.Generator().manual_seed(3))  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert torch.equal(once, again)


def test_regrouping_leaves_the_student_as_it_was(bands: PhotoSet) -> None:
    student = Striped()
    regroup(student, bands, 3, False, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert not student.fuse8._forward_hooks
