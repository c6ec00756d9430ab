"""`partswap parts near`: parts of a finished model are grouped once more, as they look from near."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.checkpoint.format import Checkpoint
from partswap.discovery.step import normalise
from partswap.distillation.near import (
    SIDE,
    Clusters,
    believed,
    cluster,
    foreground,
    from_near,
    squares_around,
)
from partswap.distillation.targets import STRIDE
from partswap.engine.loading import load_student
from partswap.imaging.draw import overlay, palette, sheet
from partswap.nets.segmenter import Segmenter
from partswap.training.data import PhotoSet
from partswap.training.views import resize_grid, sample

LOOKED_AT = 400
"""Photos, at most: enough for the clusters, and for the sheet."""
SHOWN = 24
A_LINE = 6
AT_ONCE = 16


def find_from_near(
    checkpoint: Checkpoint,
    photos: PhotoSet,
    of: Sequence[int],
    number: int,
    seed: int,
) -> tuple[Clusters, np.ndarray]:
    """Group the parts ``of`` (ids) once more, in ``number`` clusters.

    Args:
        photos: their masks are not used: what is foreground, the model says.

    Returns:
        the clusters, and a sheet of photos from near with their numbers, uint8 (H, W, 3). Raises UsageError
        where hardly any photo shows these parts.
    """
    device = photos.images.device
    some = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))[:LOOKED_AT]
    photos = photos.rows(some.to(device))
    net = load_student(checkpoint).to(device).eval()
    targets, masks = _seen(net, photos)
    photos = dataclasses.replace(photos, masks=masks)
    found = cluster(net, photos, targets, of, number, checkpoint.revision, seed)
    return found, _sheet(net, photos, targets, found)


@torch.no_grad()
def _seen(net: Segmenter, photos: PhotoSet) -> tuple[Tensor, Tensor]:
    """Part maps uint8 (N, K, H/4, W/4), without background, and foreground uint8 (N, 1, H, W)."""
    targets, masks = [], []
    for images, inside in zip(photos.images.split(AT_ONCE), photos.inside.split(AT_ONCE), strict=True):
        logits = net(normalise(images.float() / 255)).float()
        masks.append(((1 - logits.softmax(1)[:, :1]) * 255).round().to(torch.uint8) * inside)
        share = F.avg_pool2d(logits[:, 1:], STRIDE).softmax(1)
        targets.append((share * 255).round().to(torch.uint8))
    return torch.cat(targets), torch.cat(masks)


def _sheet(net: Segmenter, photos: PhotoSet, targets: Tensor, clusters: Clusters) -> np.ndarray:
    """Photos from near, each beside itself with the clusters in their colours, numbered."""
    size = (targets.shape[-2], targets.shape[-1])
    masks = foreground(photos, size)
    squares, there = squares_around(targets, clusters.of, masks)
    number = len(clusters.centres)
    names = {i: str(i) for i in range(1, number + 1)}
    colors = dict(enumerate(palette(number), 1))
    pictures: list[list[np.ndarray]] = []
    for one in there.nonzero()[:, 0].split(1):
        if len(pictures) == SHOWN:
            break
        view = from_near(net, photos.images[one], squares[one], size)
        on, known = believed(view, targets[one], clusters.of, masks[one])
        if not known:
            continue
        seen = sample(photos.images[one].float(), resize_grid(view.at, (SIDE, SIDE)))
        rgb = seen[0].permute(1, 2, 0).round().to(torch.uint8).cpu().numpy()
        found = ((clusters.nearest(view.features) + 1) * on)[0].to(torch.uint8).cpu().numpy()
        labels = found.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
        pictures.append([rgb, overlay(rgb, labels, names, colors)])
    rows = [list(chain(*pictures[i : i + A_LINE])) for i in range(0, len(pictures), A_LINE)]
    return sheet(rows, cell_height=SIDE)
