"""Discover the parts again in what a student has learned to see.

The first parts are clusters of ImageNet features, moved by the generative model; what a student sees after
distillation is much closer to a part than those. Clustering its features (Caron et al., DeepCluster, ECCV
2018, one turn) puts ids that lie idle to use and borders where the features change.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from partswap.discovery.step import normalise
from partswap.discovery.warm_start import Anchors, foreground_frame
from partswap.distillation.targets import STRIDE
from partswap.nets.segmenter import Segmenter
from partswap.training.data import PhotoSet

FEATURE_WEIGHT = 1.5
"""What the student sees counts three times as much as ImageNet features do in the first clusters
(docs/research.md)."""
FITTED_ON = 600


def _look(student: Segmenter, images: Tensor, mirror: bool) -> tuple[Tensor, Tensor]:
    """uint8 (n, 3, H, W) -> features (n, D, H/4, W/4), from stride 8, and part posterior (n, K, H/4, W/4)."""
    x = normalise(images.float() / 255)
    seen, logits = _features_and_logits(student, x)
    if mirror:
        mirrored, mirrored_logits = _features_and_logits(student, x.flip(3))
        seen = (seen + mirrored.flip(3)) / 2
        logits = (logits + mirrored_logits.flip(3)) / 2
    return seen, F.avg_pool2d(logits[:, 1:], STRIDE).softmax(1)


def _features_and_logits(student: Segmenter, x: Tensor) -> tuple[Tensor, Tensor]:
    kept: list[Tensor] = []
    handle = student.fuse8.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        logits = student(x).float()
    finally:
        handle.remove()
    size = (x.shape[-2] // STRIDE, x.shape[-1] // STRIDE)
    return F.interpolate(kept[0].float(), size=size, mode="bilinear", align_corners=False), logits


@torch.no_grad()
def regroup(
    student: Segmenter,
    photos: PhotoSet,
    parts: int,
    mirror: bool,
    g: torch.Generator,
    *,
    batch: int = 16,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """New part maps of all photos: soft clusters of the student's features and of the place in the
    foreground.

    A new part takes the id of the old one that it overlaps most (Hungarian), so that names stay near what
    they named.

    Args:
        photos: with masks; mirror: mirror images share parts.

    Returns:
        uint8 (N, K, H/4, W/4), posterior inside the foreground, 255 = certain.
    """
    assert photos.masks is not None
    student.eval()
    h, w = photos.images.shape[-2:]
    masks = F.interpolate(photos.masks.float() / 255, size=(h // STRIDE, w // STRIDE), mode="area")
    chosen = torch.randperm(len(photos), generator=g, device=g.device)[:FITTED_ON]
    seen = torch.cat([_look(student, photos.images[index], mirror)[0] for index in chosen.split(batch)])
    anchors = Anchors(seen.shape[1], parts, feature_weight=FEATURE_WEIGHT).to(seen.device)
    anchors.fit(seen, masks[chosen], mirror, g)
    del seen
    found, overlap = [], torch.zeros(parts, parts, device=g.device)
    for start in range(0, len(photos), batch):
        features, before = _look(student, photos.images[start : start + batch], mirror)
        mask = masks[start : start + batch]
        now = anchors(anchors.embed_features(features), foreground_frame(mask, mirror))
        overlap += torch.einsum("bkhw,bjhw->kj", now * mask, before)
        found.append((now * 255).round().to(torch.uint8))
        if report is not None:
            report(min(start + batch, len(photos)), len(photos))
    new, old = linear_sum_assignment(-overlap.cpu().numpy())
    order = np.empty(parts, np.int64)
    order[old] = new
    return torch.cat(found)[:, torch.from_numpy(order).to(g.device)]
